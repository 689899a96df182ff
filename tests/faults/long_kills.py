"""Processes killed and frozen at every step, with the long cells; `make faults` only."""

import asyncio
import time

import pytest

from tests.faults.cells import counting, expected_lines, lines_of
from tests.faults.engine_proxy import EngineProxy
from tests.faults.killing import (
    MUST,
    RECOVERY_S,
    strike_in_mid_cell,
    taken_up_again,
    variables_are_there,
)
from tests.faults.openings import STEPS, UPDATE, Step, kill_while_opening
from tests.faults.scene import Scene, open_scene
from tests.support.cluster import ClusterSpec

pytestmark = [pytest.mark.docker, pytest.mark.timeout(600)]
FROZEN_S = 60.0


@pytest.mark.fault(
    "Every replica (Redis) killed with `kill -9` in the middle of a 30 s cell, then started again",
    f"one of them {MUST}",
)
async def test_a_cell_of_30_s_outlives_all_replicas(engine, redis, tmp_path, seen):
    async with open_scene(tmp_path, ClusterSpec(replicas=2, redis_url=redis.url)) as scene:
        struck = await strike_in_mid_cell(scene, 30, scene.cluster.replicas[0])
        scene.cluster.kill()
        await asyncio.gather(*(replica.start() for replica in scene.cluster.replicas))
        silence_s = await taken_up_again(scene, struck)
        seen(f"next line {silence_s:.1f} s after the kill")
        assert silence_s < RECOVERY_S
        await variables_are_there(scene, struck.reading.session_id)
        await scene.check()


def openings():
    return [
        pytest.param(
            step,
            id=step.name,
            marks=pytest.mark.fault(
                f"`kill -9` of the replica (Redis) that opens a session: {step.name}; not restarted",
                "the other replica leaves nothing of it after the grace time; the same "
                "Idempotency-Key opens one session, with one container",
            ),
        )
        for step in STEPS
    ]


@pytest.mark.parametrize("step", openings())
async def test_an_opening_is_undone_by_the_other_replica(
    engine, redis, tmp_path, short_dir, seen, step: Step
):
    async with EngineProxy(short_dir / "engine.sock") as proxy:
        spec = ClusterSpec(replicas=2, redis_url=redis.url, docker_url=proxy.url)
        async with open_scene(tmp_path, spec) as scene:
            await kill_while_opening(scene, proxy, step, key="once")
            seen(f"nothing left {await scene.until_empty():.1f} s after the kill")
            await scene.first.opened(key="once")
            await scene.check()
            assert len(await scene.reality.sandboxes()) == 1


@pytest.mark.fault(
    "`kill -9` of the replica (Redis) that opens a session; the same key is sent to the other at once",
    "the second call opens the session itself: one session, one container",
)
async def test_a_repeated_opening_does_not_wait_for_the_sweep(
    engine, redis, tmp_path, short_dir, seen
):
    async with EngineProxy(short_dir / "engine.sock") as proxy:
        spec = ClusterSpec(replicas=2, redis_url=redis.url, docker_url=proxy.url)
        async with open_scene(tmp_path, spec) as scene:
            await kill_while_opening(scene, proxy, STEPS[2], key="once")
            killed_at = time.monotonic()
            await scene.first.opened(key="once")
            seen(f"open {time.monotonic() - killed_at:.1f} s after the kill")
            await scene.check()
            assert len(await scene.reality.sandboxes()) == 1


@pytest.mark.fault(
    "`kill -9` of the replica (Redis) that fills the warm pool, when its sandbox is ready and not yet in it",
    "the other replica removes it and fills the pool itself; a claim gets a sandbox that answers",
)
async def test_a_pool_is_filled_by_the_next_leader(engine, redis, tmp_path, short_dir, seen):
    async with EngineProxy(short_dir / "engine.sock") as proxy:
        hold = proxy.hold(UPDATE, "answer", times=1)
        spec = ClusterSpec(
            replicas=2,
            redis_url=redis.url,
            docker_url=proxy.url,
            environment={"SANDBOX_POOL_SIZE": "1", "SANDBOX_POOL_MAX": "1"},
        )
        async with open_scene(tmp_path, spec) as scene:
            await hold.reached()
            leader = await _leader(scene)
            leader.kill()
            hold.release()
            await _until_pooled(scene, 1)
            await scene.first.opened()
            await _until_pooled(scene, 1)
            assert await scene.settle(pooled=1) == []
            await leader.start()
            await scene.check(pooled=1)


async def _leader(scene: Scene):
    """The replica whose log says that it leads."""
    for replica in scene.cluster.replicas:
        if "lead_taken" in replica.log_path.read_text():
            return replica
    raise AssertionError("nobody leads")


async def _until_pooled(scene: Scene, size: int) -> None:
    async with asyncio.timeout(60):
        while len([one for one in await scene.reality.sandboxes() if not one.session]) != size:
            await asyncio.sleep(0.2)
        while await scene.leftovers(pooled=size):
            await asyncio.sleep(0.2)


@pytest.mark.fault(
    f"The replica that runs a cell (Redis) is stopped with SIGSTOP for {FROZEN_S:.0f} s, the other takes over",
    "the cell's lines come once each; the process that wakes changes nothing of what it lost, and serves again",
)
async def test_a_frozen_replica_wakes_and_does_no_harm(engine, redis, tmp_path, seen):
    async with open_scene(tmp_path, ClusterSpec(replicas=2, redis_url=redis.url)) as scene:
        frozen = scene.cluster.replicas[0]
        struck = await strike_in_mid_cell(scene, 30, frozen, freeze=True)
        silence_s = await taken_up_again(scene, struck)
        seen(f"next line {silence_s:.1f} s after SIGSTOP")
        session_id = struck.reading.session_id
        running = scene.first.run(session_id, counting(60, 1))
        later = asyncio.create_task(running)
        await asyncio.sleep(max(0.0, FROZEN_S - (time.monotonic() - struck.struck_at)))
        frozen.thaw()
        await frozen.until_ready()
        result = await later
        assert lines_of(result.body) == expected_lines(60)
        await variables_are_there(scene, session_id)
        assert (await scene.first.run(session_id, "print(kept)", replica=frozen)).is_ok
        await scene.check()


@pytest.mark.fault(
    f"A replica (Redis) is stopped with SIGSTOP for {FROZEN_S:.0f} s in the middle of an opening",
    "the caller's second try on the other replica has one session, one container; the waking process adds none",
)
async def test_an_opening_that_wakes_late_leaves_nothing(engine, redis, tmp_path, short_dir):
    async with EngineProxy(short_dir / "engine.sock") as proxy:
        spec = ClusterSpec(replicas=2, redis_url=redis.url, docker_url=proxy.url)
        async with open_scene(tmp_path, spec) as scene:
            frozen = scene.cluster.replicas[0]
            hold = proxy.hold(STEPS[2].pattern, "request", times=1)
            opening = asyncio.create_task(scene.first.open(replica=frozen, key="once"))
            await hold.reached()
            frozen.freeze()
            hold.release()
            began = time.monotonic()
            session_id = await scene.first.opened(key="once")
            await scene.first.ran(session_id, "kept = 'still here'")
            await asyncio.sleep(FROZEN_S - (time.monotonic() - began))
            frozen.thaw()
            await frozen.until_ready()
            late = await opening
            assert late.status in (201, 503), late
            await variables_are_there(scene, session_id)
            await scene.check()
            assert len(await scene.reality.sandboxes()) == 1
