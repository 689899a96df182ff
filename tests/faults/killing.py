"""A process that is killed while it runs a cell, and what its caller then finds."""

import asyncio
import time
from dataclasses import dataclass

from tests.faults.cells import counting, expected_lines, lines_of
from tests.faults.history import Event, Reading, text_of
from tests.faults.scene import Scene
from tests.support.cluster import Replica

LINES_PER_S = 3
RECOVERY_S = 30.0
MUST = (
    f"has it within {RECOVERY_S:g} s; the resumed client holds every line once; variables are there"
)


@dataclass(slots=True)
class Struck:
    """A cell of so many seconds whose process was struck when a third of it was over."""

    reading: Reading
    seconds: int
    struck_at: float


async def strike_in_mid_cell(
    scene: Scene, seconds: int, replica: Replica, *, freeze: bool = False
) -> Struck:
    """Kill, or freeze, the process that runs a cell; its reader's line breaks."""
    session_id = await scene.first.opened()
    await scene.first.ran(session_id, "kept = 'still here'")
    enough = seconds * LINES_PER_S // 3

    def strike(event: Event) -> bool:
        if event.type != "output" or f"line {enough}" not in str(event.data):
            return False
        replica.freeze() if freeze else replica.kill()
        return True

    code = counting(seconds * LINES_PER_S, 1 / LINES_PER_S)
    reading = await scene.first.stream(session_id, code, replica=replica, stop=strike)
    assert not replica.is_up
    return Struck(reading, seconds, time.monotonic())


async def taken_up_again(scene: Scene, struck: Struck) -> float:
    """Follow the cell to its end on whoever is up; how long its reader heard nothing, in seconds."""
    reading = struck.reading
    before = len(reading.events)
    following = asyncio.create_task(scene.first.follow_to_end(reading, 3 * struck.seconds + 60))
    while len(reading.events) == before and not following.done():
        await asyncio.sleep(0.02)
    silence_s = time.monotonic() - struck.struck_at
    final = await following
    assert final["status"] == "ok", final
    assert lines_of(final) == expected_lines(struck.seconds * LINES_PER_S)
    return silence_s


async def variables_are_there(scene: Scene, session_id: str) -> None:
    after = await scene.first.ran(session_id, "print(kept)")
    assert text_of(after).endswith("still here\n")
    assert after["kernel"]["state"] == "kept"
