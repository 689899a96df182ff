"""Expiry against activity, and a clock that jumps; `make faults` only."""

import asyncio
import time
from pathlib import Path

import pytest

from tests.faults.cells import counting, expected_lines, lines_of
from tests.faults.expiry import EXPIRY, race
from tests.faults.history import Event
from tests.faults.scene import Scene, open_scene
from tests.support.cluster import ClusterSpec

pytestmark = [pytest.mark.docker, pytest.mark.timeout(1800)]
ROUNDS = 500
LINES = 10
FAKETIME = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1")
TWO_HOURS_S = 7200


@pytest.mark.fault(
    f"Activity (cells, touches, uploads) at the moment of expiry, {ROUNDS} times, on two replicas (Redis)",
    "the session lives on or the call gets a clean 410, never accepted and then lost",
)
async def test_expiry_races_with_activity(engine, redis, tmp_path, seen):
    spec = ClusterSpec(replicas=2, redis_url=redis.url, environment=EXPIRY)
    async with open_scene(tmp_path, spec) as scene:
        outcomes = await race(scene, ROUNDS, LINES)
        seen(", ".join(f"{outcome} {count} times" for outcome, count in outcomes.items()))
        assert outcomes["lived on"] > ROUNDS // 20
        assert outcomes["gone"] > ROUNDS // 20
        await scene.check()


def with_a_false_clock(directory: Path) -> dict[str, str]:
    """Wall clocks that say what `set_clock` writes; clocks that count seconds are left alone."""
    if not FAKETIME.exists():
        pytest.skip("libfaketime is not installed (the package `faketime`)")
    set_clock(directory, 0)
    return {
        "LD_PRELOAD": str(FAKETIME),
        "FAKETIME_TIMESTAMP_FILE": str(directory / "clock"),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }


def set_clock(directory: Path, offset_s: int) -> None:
    draft = directory / "clock.new"
    draft.write_text(f"{offset_s:+d}\n")
    draft.replace(directory / "clock")


def first_output(event: Event) -> bool:
    return event.type == "output"


async def jump(scene: Scene, directory: Path, offset_s: int) -> tuple[str, str]:
    """Jump under a running cell and an idle session; the ids of the busy and the idle one."""
    busy, idle = await asyncio.gather(scene.first.opened(), scene.first.opened())
    await scene.first.ran(idle, "kept = 1")
    reading = await scene.first.stream(busy, counting(40, 0.25), timeout_s=30, stop=first_output)
    before = time.monotonic()
    set_clock(directory, offset_s)
    final = await scene.first.follow_to_end(reading, 60)
    assert time.monotonic() - before < 20
    assert (final["status"], lines_of(final)) == ("ok", expected_lines(40))
    assert 5 < final["duration_s"] < 20
    return busy, idle


@pytest.mark.fault(
    "The clock of both replicas (Redis) jumps two hours forward, under a running cell",
    "the cell runs to its end; no session is ended by it, an idle one of one hour has its variables",
)
async def test_the_clock_jumps_forward(engine, redis, tmp_path, seen):
    spec = ClusterSpec(replicas=2, redis_url=redis.url, environment=with_a_false_clock(tmp_path))
    async with open_scene(tmp_path, spec) as scene:
        busy, idle = await jump(scene, tmp_path, TWO_HOURS_S)
        assert (await scene.first.ran(idle, "print(kept)"))["kernel"]["state"] == "kept"
        assert (await scene.first.run(busy, "print('well')")).is_ok
        await scene.check()


@pytest.mark.fault(
    "The clock of both replicas (Redis) jumps two hours back, under a running cell",
    "the cell runs to its end, sessions and leases go on, a bounded cell is still bounded",
)
async def test_the_clock_jumps_back(engine, redis, tmp_path, seen):
    spec = ClusterSpec(replicas=2, redis_url=redis.url, environment=with_a_false_clock(tmp_path))
    async with open_scene(tmp_path, spec) as scene:
        busy, idle = await jump(scene, tmp_path, -TWO_HOURS_S)
        assert (await scene.first.ran(idle, "print(kept)"))["kernel"]["state"] == "kept"
        bounded = await scene.first.ran(busy, "while True: pass", timeout_s=2)
        assert (bounded["status"], bounded["duration_s"] < 5) == ("timeout", True)
        await scene.check()


def one_alone():
    """Ahead and behind."""
    return [
        pytest.param(
            offset_s,
            id=which,
            marks=pytest.mark.fault(
                f"The clock of one of two replicas (Redis) is two hours {which}, from its start on",
                "cells run to their end on both, no session is ended by it; a bounded cell is still bounded",
            ),
        )
        for which, offset_s in (("ahead", TWO_HOURS_S), ("behind", -TWO_HOURS_S))
    ]


@pytest.mark.parametrize("offset_s", one_alone())
async def test_one_clock_alone_is_wrong(engine, redis, tmp_path, seen, offset_s: int):
    clock = with_a_false_clock(tmp_path)
    set_clock(tmp_path, offset_s)
    async with open_scene(tmp_path, ClusterSpec(replicas=2, redis_url=redis.url)) as scene:
        right, wrong = scene.cluster.replicas
        wrong.kill()
        wrong.environment.update(clock)
        await wrong.start()
        for replica in (right, wrong):
            session_id = await scene.first.opened(replica=replica)
            for runner in (right, wrong):
                call = await scene.first.run(session_id, "kept = 1", replica=runner)
                assert call.is_ok, call
        (first, second) = await asyncio.gather(scene.first.opened(), scene.second.opened())
        reading = await scene.first.stream(first, counting(40, 0.25), stop=first_output)
        await scene.second.ran(second, "kept = 1")
        final = await scene.first.follow_to_end(reading, 60)
        assert (final["status"], lines_of(final)) == ("ok", expected_lines(40))
        bounded = await scene.first.run(first, "while True: pass", timeout_s=2, replica=wrong)
        assert bounded.body["status"] == "timeout", bounded
        after = await scene.second.ran(second, "print(kept)")
        assert after["kernel"]["state"] == "kept"
        await scene.check()
