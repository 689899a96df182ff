"""A random fault every few seconds, and everything back where it was at the end; `make faults` only."""

import asyncio
import time

import pytest

from tests.faults.reality import use_of
from tests.faults.scene import Scene, open_scene
from tests.faults.soaking import Soak
from tests.support.cluster import ClusterSpec
from tests.support.tcp_proxy import TcpProxy

pytestmark = [pytest.mark.docker, pytest.mark.timeout(0)]
MIB = 1024 * 1024
WARM_UP_S = 20.0
MORE_BYTES = 150 * MIB
MORE_DESCRIPTORS = 25
MORE_THREADS = 10


async def quiet(scene: Scene) -> None:
    """Every session closed and its sandbox gone."""
    await scene.close_all()
    await scene.until_empty(grace_s=60)


@pytest.mark.fault(
    "A soak: three replicas over Redis, two tenants at work, every few seconds a random fault: a replica "
    "killed, frozen or stopped, Redis killed, silent or cut off, the engine killed or frozen, a container killed "
    "or paused, callers hanging up",
    "the invariants hold; no session is lost but with its container; memory, descriptors, threads, containers, control "
    "directories and user ids are back where they were",
)
async def test_a_soak(private_docker, redis, tmp_path, seen, soak_s):
    private_docker.live_restore = True
    await private_docker.stopped()
    await private_docker.started()
    async with TcpProxy(redis.port) as line:
        spec = ClusterSpec(
            replicas=3,
            redis_url=f"redis://127.0.0.1:{line.port}/0",
            docker_url=private_docker.url,
            environment={"SANDBOX_POOL_SIZE": "0"},
        )
        async with open_scene(tmp_path, spec) as scene:
            soak = Soak(scene, redis, line, private_docker, scene.cluster.replicas[2])
            await warm_up(soak)
            before = use_of(soak.steady.pid)
            await soak.run(soak_s)
            for replica in scene.cluster.replicas:
                await replica.until_ready()
            await scene.check(grace_s=60)
            await quiet(scene)
            await asyncio.sleep(5)
            after = use_of(soak.steady.pid)
            grown = (after.resident_bytes - before.resident_bytes) // MIB
            seen(
                f"{soak_s:.0f} s, {sum(soak.faults.values())} faults ({dict(soak.faults)}), {dict(soak.did)}; "
                f"the one never killed: {grown:+d} MiB, "
                f"{after.descriptors - before.descriptors:+d} descriptors, "
                f"{after.threads - before.threads:+d} threads"
            )
            assert after.resident_bytes - before.resident_bytes < MORE_BYTES
            assert after.descriptors - before.descriptors < MORE_DESCRIPTORS
            assert after.threads - before.threads < MORE_THREADS


async def warm_up(soak: Soak) -> None:
    """Work without faults, so that what grows only once has grown."""
    until = time.monotonic() + WARM_UP_S
    work = [soak.scene.first, soak.scene.second]
    await asyncio.gather(*(soak.work(caller, until) for caller in work))
    await quiet(soak.scene)
    soak.did.clear()
