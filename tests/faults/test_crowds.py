"""Crowds of callers in a small size: the full one is `make faults`. Local sandboxes: isolation does not matter here."""

import pytest

from tests.faults.crowds import MIB, deaf_readers, hang_ups, rush
from tests.faults.scene import open_scene
from tests.support.cluster import ClusterSpec

STALL_S = 1.0
CAP = 4


@pytest.mark.fault(
    "100 clients of two tenants hang up at random points (local sandboxes, memory store)",
    "what was accepted runs once to its end, unless its caller asked to cancel",
)
async def test_clients_hang_up(tmp_path, seen):
    async with open_scene(tmp_path, ClusterSpec(backend="unsafe_local")) as scene:
        found = await hang_ups(scene, clients=100, sessions_each=1)
        seen(", ".join(f"{count} {status}" for status, count in found.statuses.items()))
        assert set(found.statuses) <= {"ok", "interrupted"}
        await scene.check()


@pytest.mark.fault(
    f"20 clients never read (local sandboxes); a reader may stand still for {STALL_S:g} s",
    "every one is dropped with a reason; others do not notice",
)
async def test_clients_never_read(tmp_path, seen):
    spec = ClusterSpec(
        backend="unsafe_local", environment={"SANDBOX_STALL_TIMEOUT_S": f"{STALL_S:g}"}
    )
    async with open_scene(tmp_path, spec) as scene:
        found = await deaf_readers(scene, readers=20, stall_s=STALL_S)
        seen(f"{found.dropped} dropped; {found.grown_bytes // MIB} MiB more at most")
        assert found.dropped == 20
        assert found.grown_bytes < 150 * MIB
        assert found.slowest_cell_s < 30
        await scene.check()


@pytest.mark.fault(
    f"60 opens at once by two tenants (local sandboxes), against a cap of {CAP} sessions",
    f"never more than {CAP}; the others get 429 with Retry-After",
)
async def test_opens_meet_the_cap(tmp_path, seen):
    spec = ClusterSpec(backend="unsafe_local", environment={"SANDBOX_MAX_SESSIONS": str(CAP)})
    async with open_scene(tmp_path, spec) as scene:
        answers = await rush(scene, opens=60)
        seen(", ".join(f"{count}: {answer}" for answer, count in answers.most_common()))
        assert CAP - CAP // 4 <= answers.pop("201") <= CAP
        assert set(answers) <= {"429 session_limit", "429 quota_sessions"}
        assert all(call.retry_after for call in scene.history.calls if call.status == 429)
        await scene.close_all()
        await scene.check()
