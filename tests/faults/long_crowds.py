"""Crowds of callers, at full size; `make faults` only."""

import asyncio

import pytest

from sandbox_service.store.redis.connection import KEPT_IDLE
from tests.faults.crowds import MIB, deaf_readers, hang_ups, rush
from tests.faults.scene import open_scene
from tests.support.cluster import ClusterSpec

pytestmark = [pytest.mark.docker, pytest.mark.timeout(900)]
CAP = 20
LINES_CLOSED_S = 35.0  # idle lines to sandboxes are looked through every 30 s
KEPT_FOR_A_SMALLER_TENANT = CAP // 4
STALL_S = 5.0
KEPT_TO_REDIS = 2 * KEPT_IDLE  # what two replicas keep open after a rush


@pytest.mark.fault(
    "2,000 clients of two tenants hang up at random points, on two replicas (Redis)",
    "what was accepted runs once to its end, unless its caller asked to cancel; nothing stays open",
)
async def test_two_thousand_clients_hang_up(engine, redis, tmp_path, seen):
    spec = ClusterSpec(replicas=2, redis_url=redis.url)
    async with open_scene(tmp_path, spec) as scene:
        before = sum(use.descriptors for use in scene.uses())
        found = await hang_ups(scene, clients=2000, sessions_each=4)
        ends = ", ".join(f"{count} {status}" for status, count in found.statuses.items())
        assert set(found.statuses) <= {"ok", "interrupted"}
        await scene.check()
        await scene.close_all()
        await scene.until_empty(grace_s=60)
        await asyncio.sleep(LINES_CLOSED_S)
        for caller in scene.callers.values():
            await caller.disconnect()
        await asyncio.sleep(1)
        more = sum(use.descriptors for use in scene.uses()) - before
        seen(
            f"executions: {ends}; {more} descriptors more, of which up to {KEPT_TO_REDIS} to Redis"
        )
        assert more <= KEPT_TO_REDIS + 4, f"{more} descriptors more than before"


@pytest.mark.fault(
    f"200 clients never read: 100 streams, 100 downloads; a reader may stand still for {STALL_S:g} s",
    "every one is dropped with a reason; memory is bounded, other cells go on, descriptors come back",
)
async def test_two_hundred_clients_never_read(engine, tmp_path, seen):
    spec = ClusterSpec(environment={"SANDBOX_STALL_TIMEOUT_S": f"{STALL_S:g}"})
    async with open_scene(tmp_path, spec) as scene:
        found = await deaf_readers(scene, readers=200, stall_s=STALL_S)
        seen(
            f"{found.dropped} dropped; {found.grown_bytes // MIB} MiB more at most; slowest cell "
            f"beside them {found.slowest_cell_s * 1000:.0f} ms"
        )
        assert found.dropped == 200
        assert found.grown_bytes < 300 * MIB
        assert found.slowest_cell_s < 5
        assert found.descriptors_left < 20
        await scene.check()


@pytest.mark.fault(
    f"500 opens at once by two tenants on two replicas (Redis), against a cap of {CAP} sessions",
    f"never more than {CAP}; the others get 429 with Retry-After; what a smaller tenant is owed may stay free",
)
async def test_five_hundred_opens_meet_the_cap(engine, redis, tmp_path, seen):
    spec = ClusterSpec(
        replicas=2, redis_url=redis.url, environment={"SANDBOX_MAX_SESSIONS": str(CAP)}
    )
    async with open_scene(tmp_path, spec) as scene:
        answers = await rush(scene, opens=500)
        seen(", ".join(f"{count}: {answer}" for answer, count in answers.most_common()))
        opened = answers.pop("201 ready", 0) + answers.pop("201", 0)
        assert CAP - KEPT_FOR_A_SMALLER_TENANT <= opened <= CAP
        assert set(answers) <= {"429 session_limit", "429 quota_sessions"}
        refused = [call for call in scene.history.calls if call.status == 429]
        assert all(call.retry_after for call in refused)
        assert len(await scene.reality.sandboxes()) == opened
        await scene.close_all()
        await scene.check()
