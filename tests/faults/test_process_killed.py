"""The service process is killed while code runs: the code goes on, and its caller misses nothing."""

import asyncio
import time

import pytest

from tests.faults.cells import counting, expected_lines, lines_of
from tests.faults.history import Event, Reading, text_of
from tests.faults.scene import Scene, open_scene
from tests.support.cluster import ClusterSpec

pytestmark = pytest.mark.docker
RECOVERY_S = 10.0


async def kill_in_mid_cell(scene: Scene, seconds: int) -> tuple[Reading, float]:
    """Kill the process that runs a cell when a third is over; the reading so far, and when that was."""
    session_id = await scene.first.opened()
    await scene.first.ran(session_id, "kept = 'still here'")
    shown: list[float] = []

    def kill(event: Event) -> bool:
        if "line" in str(event.data) and event.type == "output":
            shown.append(time.monotonic())
        if len(shown) >= seconds:
            scene.cluster.replicas[0].kill()
            return True
        return False

    code = counting(seconds * 3, 1 / 3)
    first = scene.cluster.replicas[0]
    reading = await scene.first.stream(session_id, code, replica=first, stop=kill)
    assert not first.is_up
    return reading, time.monotonic()


async def resumed(scene: Scene, reading: Reading, seconds: int, killed_at: float) -> float:
    """Follow the cell to its end, on whoever is there; seconds from the kill to the next event."""
    before = len(reading.events)
    following = asyncio.create_task(scene.first.follow_to_end(reading, 3 * seconds + 60))
    while len(reading.events) == before:
        await asyncio.sleep(0.02)
    silence_s = time.monotonic() - killed_at
    final = await following
    assert final["status"] == "ok", final
    assert lines_of(final) == expected_lines(seconds * 3)
    after = await scene.first.ran(reading.session_id, "print(kept)")
    assert text_of(after).endswith("still here\n")
    assert after["kernel"]["state"] == "kept"
    return silence_s


@pytest.mark.fault(
    "`kill -9` of the only process in the middle of a cell (memory store), then a restart",
    "within 10 s the restarted one has it; the resumed client holds every line once; variables are there",
)
async def test_a_cell_outlives_the_process_with_the_memory_store(engine, tmp_path, seen):
    async with open_scene(tmp_path, ClusterSpec()) as scene:
        reading, killed_at = await kill_in_mid_cell(scene, seconds=3)
        await scene.cluster.replicas[0].start()
        silence_s = await resumed(scene, reading, 3, killed_at)
        assert silence_s < RECOVERY_S
        seen(f"next line {silence_s:.1f} s after the kill")
        await scene.check()
