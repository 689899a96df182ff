"""No room on the disk, no more descriptors, a sandbox that stands still for good; `make faults` only."""

import asyncio
import os
import resource
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.faults.cells import counting, expected_lines, lines_of
from tests.faults.history import Event, text_of
from tests.faults.scene import Scene, open_scene
from tests.faults.small_disk import fill, small_disk
from tests.faults.test_sandbox_broken import containers_of, on_engine
from tests.support.cluster import ClusterSpec

pytestmark = [pytest.mark.docker, pytest.mark.timeout(600)]
MAKES_A_FILE = "open('made.bin', 'wb').write(bytes(1024 * 1024)); print('made')"
SPARE_DESCRIPTORS = 3
HEALED_S = 4.0


def stores():
    must = (
        "cells go on; a file that cannot be kept is said in the result; with room again everything is kept, "
        "also over `kill -9`"
    )
    return [
        pytest.param(
            name,
            marks=pytest.mark.fault(
                f"The disk of the data directory is full ({name} store), in the middle of a cell",
                must,
            ),
        )
        for name in ("memory", "redis")
    ]


@pytest.mark.parametrize("store", stores())
async def test_a_full_disk(engine, redis, tmp_path, seen, store: str):
    url = redis.url if store == "redis" else None
    with small_disk(tmp_path / "data"):
        async with open_scene(tmp_path, ClusterSpec(redis_url=url)) as scene:
            await with_no_room(scene, tmp_path / "data", seen)


async def with_no_room(scene: Scene, data_dir: Path, seen) -> None:
    session_id = await scene.first.opened()
    reading = await scene.first.stream(session_id, counting(30, 0.2), stop=first_output)
    filler = fill(data_dir)
    final = await scene.first.follow_to_end(reading, 60)
    assert lines_of(final) == expected_lines(30)
    made = await scene.first.run(session_id, MAKES_A_FILE)
    assert (made.status, made.body.get("status")) == (200, "ok"), made
    assert made.body["artifacts"] == []
    assert made.body["notices"], "the result does not say that the file was not kept"
    seen(f"said: {made.body['notices'][0]}")
    opened = await scene.first.open()
    assert opened.status == 201, opened
    assert (await scene.first.run(opened.session_id, "kept = 1")).is_ok
    filler.unlink()
    again = await scene.first.ran(session_id, MAKES_A_FILE)
    assert [one["path"] for one in again["artifacts"]] == ["made.bin"]
    await asyncio.sleep(HEALED_S)
    scene.cluster.replicas[0].kill()
    await scene.cluster.replicas[0].start()
    assert (await scene.first.ran(opened.session_id, "print(kept)"))["kernel"]["state"] == "kept"
    await scene.check()


def first_output(event: Event) -> bool:
    return event.type == "output"


def limit_descriptors(pid: int, spare: int | None) -> None:
    """Let the process open `spare` more than it has; None takes the limit away."""
    _, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    soft = hard if spare is None else len(os.listdir(f"/proc/{pid}/fd")) + spare
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.fault(
    "The process has no descriptors left for 15 s, under a running cell and sessions that it has just adopted",
    "callers get answers, typed errors or no connection; no session is lost, no busy loop; recovery by itself",
)
async def test_no_descriptors_left(engine, tmp_path, seen):
    async with open_scene(tmp_path, ClusterSpec()) as scene:
        replica = scene.cluster.replicas[0]
        adopted = [await scene.first.opened() for _ in range(3)]
        for session_id in adopted:
            await scene.first.ran(session_id, "kept = 1")
        replica.kill()
        await replica.start()  # the lines to their agents are not open yet
        busy = await scene.second.opened()
        reading = await scene.second.stream(busy, counting(60, 0.5), stop=first_output)
        limit_descriptors(replica.pid, SPARE_DESCRIPTORS)
        cpu, until = cpu_seconds(replica.pid), time.monotonic() + 15
        answers: Counter[str] = Counter()
        while time.monotonic() < until:
            asked = [scene.first.run(one, "print(kept)", timeout_s=5) for one in adopted]
            asked += [scene.first.open() for _ in range(5)]
            asked += [scene.first.read_session(adopted[0]) for _ in range(20)]
            calls = await asyncio.gather(*asked)
            answers.update(f"{one.status or one.broken} {one.error_code}".strip() for one in calls)
            await asyncio.sleep(1)
        spent_s = cpu_seconds(replica.pid) - cpu
        limit_descriptors(replica.pid, None)
        seen(f"{spent_s:.1f} s of CPU in 15 s; {dict(answers.most_common(6))}")
        for session_id in adopted:
            after = await scene.first.ran(session_id, "print('kept is', kept)")
            assert text_of(after).endswith("kept is 1\n"), after
        assert lines_of(await scene.second.follow_to_end(reading, 60)) == expected_lines(60)
        assert not any(answer.startswith("500") for answer in answers), answers
        await scene.close_all()
        await scene.check(grace_s=40)


@pytest.mark.fault(
    "A container is paused in the middle of a cell with a limit of 5 s, and never goes on",
    "the execution ends within two minutes with a word, its session and container are gone, others do not notice",
)
async def test_a_container_that_stands_still_for_good(engine, tmp_path, seen):
    async with open_scene(tmp_path, ClusterSpec()) as scene:
        session_id, other = await asyncio.gather(scene.first.opened(), scene.second.opened())
        reading = await scene.first.stream(
            session_id, counting(1000, 0.2), timeout_s=5, stop=first_output
        )
        (container,) = await containers_of(scene, session_id)
        await on_engine(scene, "pause", container)
        began = time.monotonic()
        final = await scene.first.follow_to_end(reading, 120)
        seen(f"{final['status']} after {time.monotonic() - began:.0f} s")
        assert final["status"] in ("lost", "timeout")
        assert (await scene.second.run(other, "print(1)")).took_s < 5
        await scene.check(grace_s=40)
