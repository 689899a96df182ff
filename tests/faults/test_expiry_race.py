"""Activity at the moment of expiry, a few times: five hundred times on two replicas is `make faults`."""

import pytest

from tests.faults.expiry import EXPIRY, race
from tests.faults.scene import open_scene
from tests.support.cluster import ClusterSpec


@pytest.mark.fault(
    "Activity at the moment of expiry, 30 times (local sandboxes, memory store)",
    "the session lives on or the call gets a clean 410, never accepted and then lost",
)
async def test_expiry_races_with_activity(tmp_path, seen):
    spec = ClusterSpec(backend="unsafe_local", environment=EXPIRY)
    async with open_scene(tmp_path, spec) as scene:
        outcomes = await race(scene, rounds=30, lines=5)
        seen(", ".join(f"{outcome} {count} times" for outcome, count in outcomes.items()))
        assert sum(outcomes.values()) == 30
        await scene.check()
