"""The sandbox itself fails: what ran in it ends with a word, others do not notice, nothing stays."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.cells import counting, expected_lines, lines_of
from tests.faults.history import Event, Reading, text_of
from tests.faults.reality import DockerReality
from tests.faults.scene import Scene, open_scene
from tests.support.cluster import ClusterSpec

pytestmark = pytest.mark.docker
Seen = Callable[[str], None]
FILLS_MEMORY = "block = []\nwhile True: block.append(bytearray(32 * 1024 * 1024))"


async def containers_of(scene: Scene, session_id: str) -> list[str]:
    seen = await scene.reality.sandboxes()
    return [one.engine_id for one in seen if one.session == session_id]


async def on_engine(scene: Scene, action: str, container: str) -> None:
    """Do something to a container behind the service's back."""
    assert isinstance(scene.reality, DockerReality)
    await scene.reality.api.act(container, action)


def second_line(event: Event) -> bool:
    return event.type == "output" and "line 1" in str(event.data)


async def started_cell(scene: Scene, session_id: str, lines: int) -> Reading:
    """A counting cell that has printed its second line; its reader has hung up."""
    return await scene.first.stream(session_id, counting(lines, 0.2), stop=second_line)


@pytest.mark.fault(
    "A container is killed in the middle of a cell (`docker kill`)",
    "the execution ends as lost with what it had printed, the session answers 410, another one goes on",
)
async def test_a_killed_container_ends_its_session_with_a_word(engine, tmp_path, seen):
    await is_killed(ClusterSpec(), tmp_path, seen)


async def is_killed(spec: ClusterSpec, tmp_path: Path, seen: Seen) -> None:
    async with open_scene(tmp_path, spec) as scene:
        session_id, other = await asyncio.gather(scene.first.opened(), scene.second.opened())
        reading = await started_cell(scene, session_id, lines=100)
        (container,) = await containers_of(scene, session_id)
        killed_at = time.monotonic()
        await on_engine(scene, "kill", container)
        final = await scene.first.follow_to_end(reading, 60)
        assert final["status"] == "lost"
        assert lines_of(final)[:2] == expected_lines(2)
        seen(f"told after {time.monotonic() - killed_at:.1f} s")
        after = await scene.first.run(session_id, "print(1)")
        assert (after.status, after.error_code) == (410, "session_lost")
        assert text_of(await scene.second.ran(other, "print('well')")).endswith("well\n")
        await scene.check()


@pytest.mark.fault(
    "A container is paused for 10 s in the middle of a cell",
    "the cell goes on afterwards, every line once; another session does not notice",
)
async def test_a_paused_container_goes_on(engine, tmp_path):
    await is_paused(ClusterSpec(), tmp_path)


async def is_paused(spec: ClusterSpec, tmp_path: Path) -> None:
    async with open_scene(tmp_path, spec) as scene:
        session_id, other = await asyncio.gather(scene.first.opened(), scene.second.opened())
        reading = await started_cell(scene, session_id, lines=10)
        (container,) = await containers_of(scene, session_id)
        await on_engine(scene, "pause", container)
        began = time.monotonic()
        while time.monotonic() - began < 10:
            assert (await scene.second.run(other, "print(1)")).took_s < 30
            await asyncio.sleep(0.5)
        await on_engine(scene, "unpause", container)
        final = await scene.first.follow_to_end(reading, 60)
        assert (final["status"], lines_of(final)) == ("ok", expected_lines(10))
        await scene.check()


@pytest.mark.fault(
    "A cell takes more memory than its sandbox has",
    "`out_of_memory` is its result; the session lives on with a fresh kernel, said so",
)
async def test_memory_that_runs_out_is_the_cells_result(engine, tmp_path, seen):
    async with open_scene(tmp_path, ClusterSpec()) as scene:
        session_id = await scene.first.opened(limits={"memory_bytes": 300 * 1024 * 1024})
        died = await scene.first.ran(session_id, FILLS_MEMORY, timeout_s=60)
        assert died["status"] == "out_of_memory"
        assert died["kernel"]["state"] == "reset"
        assert text_of(await scene.first.ran(session_id, "print('well')")).endswith("well\n")
        await scene.check()
