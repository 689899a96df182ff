"""The engine restarted, stopped, killed and frozen under the service; `make faults` only."""

import asyncio
import time
from collections import Counter

import pytest

from tests.faults.callers import NobodyUp
from tests.faults.cells import counting, expected_lines, lines_of
from tests.faults.history import Call, Event
from tests.faults.reality import use_of
from tests.faults.scene import Scene, open_scene
from tests.support.cluster import ClusterSpec
from tests.support.private_engine import PrivateEngine

pytestmark = [pytest.mark.docker, pytest.mark.timeout(600)]
AWAY_S = 30.0
HUNG_S = 45.0
LONGEST_ANSWER_S = 70.0
MORE_THREADS = 16
TYPED = {"engine_unavailable", "overloaded", "sandbox_start_failed", "runtime_unavailable"}


def spec_for(engine: PrivateEngine, **environment: str) -> ClusterSpec:
    return ClusterSpec(docker_url=engine.url, environment=environment)


def first_output(event: Event) -> bool:
    return event.type == "output"


async def works_again(scene: Scene, deadline_s: float = 60.0) -> float:
    """Seconds until a new session runs a cell."""
    began = time.monotonic()
    session_id = await scene.first.opened(deadline_s=deadline_s)
    await scene.first.ran(session_id, "print('well')")
    return time.monotonic() - began


@pytest.mark.fault(
    "The engine is restarted without live-restore: its containers end",
    "what ran ends as lost, its sessions answer 410; nothing stays; new sessions work",
)
async def test_a_restart_takes_the_containers(private_docker, tmp_path, seen):
    async with open_scene(tmp_path, spec_for(private_docker)) as scene:
        idle, busy = await asyncio.gather(scene.first.opened(), scene.first.opened())
        reading = await scene.first.stream(busy, counting(1000, 0.2), stop=first_output)
        await private_docker.stopped()
        await private_docker.started()
        final = await scene.first.follow_to_end(reading, 60)
        assert final["status"] == "lost"
        for session_id in (idle, busy):
            call = await scene.first.insist(lambda one=session_id: scene.first.run(one, "1"), 60)
            assert (call.status, call.error_code) == (410, "session_lost"), call
        seen(f"a new session's cell after {await works_again(scene):.1f} s")
        await scene.check()


@pytest.mark.fault(
    "The engine is restarted with live-restore",
    "cells and sessions go on as if nothing had been",
)
async def test_a_restart_with_live_restore_is_not_noticed(private_docker, tmp_path, seen):
    private_docker.live_restore = True
    await private_docker.stopped()
    await private_docker.started()
    async with open_scene(tmp_path, spec_for(private_docker)) as scene:
        session_id = await scene.first.opened()
        reading = await scene.first.stream(session_id, counting(60, 0.25), stop=first_output)
        await private_docker.stopped()
        assert (await scene.first.read_session(session_id)).body["status"] == "ready"
        await private_docker.started()
        final = await scene.first.follow_to_end(reading, 60)
        assert (final["status"], lines_of(final)) == ("ok", expected_lines(60))
        seen(f"a new session's cell after {await works_again(scene):.1f} s")
        await scene.check()


async def opens_meanwhile(scene: Scene, until: float) -> Counter[str]:
    """Opens without a key, one after the other in four lines; how often each answer came."""

    async def line() -> list[Call]:
        calls = []
        while time.monotonic() < until:
            calls.append(await scene.first.open())
            await asyncio.sleep(0.5)
        return calls

    lines = await asyncio.gather(*(line() for _ in range(4)))
    slowest_s = max(call.took_s for calls in lines for call in calls)
    assert slowest_s < LONGEST_ANSWER_S, f"an open took {slowest_s:.0f} s"
    return Counter(f"{call.status} {call.error_code}".strip() for calls in lines for call in calls)


def assert_typed(answers: Counter[str]) -> None:
    """Every answer is a session or an error that says what is wrong."""
    codes = {answer.removeprefix("503 ") for answer in answers if answer != "201"}
    assert codes <= TYPED, answers


def ways_to_go():
    must = "each open ends as a session or as a typed 503; then everything works by itself, nothing is left over"
    words = {"stop": "stopped (SIGTERM)", "kill": "killed (`kill -9`)"}
    return [
        pytest.param(
            how,
            marks=pytest.mark.fault(
                f"The engine is {word} for {AWAY_S:.0f} s in the middle of opens", must
            ),
        )
        for how, word in words.items()
    ]


@pytest.mark.parametrize("how", ways_to_go())
async def test_the_engine_goes_away_in_the_middle_of_opens(
    private_docker, tmp_path, seen, how: str
):
    async with open_scene(tmp_path, spec_for(private_docker)) as scene:
        until = time.monotonic() + AWAY_S + 5
        opening = asyncio.create_task(opens_meanwhile(scene, until))
        await asyncio.sleep(2.5)
        await asyncio.to_thread(private_docker.kill if how == "kill" else private_docker.stop)
        await asyncio.sleep(AWAY_S)
        await private_docker.started()
        answers = await opening
        recovered_s = await works_again(scene)
        assert_typed(answers)
        seen(f"{dict(answers)}; a new session's cell after {recovered_s:.1f} s")
        await scene.check(grace_s=40)


@pytest.mark.fault(
    f"The engine hangs (SIGSTOP) for {HUNG_S:.0f} s, under a running cell and 40 opens at once",
    "the cell goes on, opens get typed errors, threads are bounded, readiness drops; recovery by itself",
)
async def test_a_hung_engine_piles_nothing_up(private_docker, tmp_path, seen):
    async with open_scene(tmp_path, spec_for(private_docker)) as scene:
        replica = scene.cluster.replicas[0]
        session_id = await scene.first.opened()
        reading = await scene.first.stream(session_id, counting(120, 0.5), stop=first_output)
        threads = use_of(replica.pid).threads
        private_docker.freeze()
        opens = [asyncio.create_task(scene.first.open()) for _ in range(40)]
        await asyncio.sleep(HUNG_S)
        hung_threads = use_of(replica.pid).threads
        readiness = await scene.first.call("readyz", "GET", "/readyz")
        private_docker.thaw()
        calls = await asyncio.gather(*opens)
        recovered_s = await works_again(scene)
        answers = Counter(f"{call.status} {call.error_code}".strip() for call in calls)
        slowest_s = max(call.took_s for call in calls if call.status != 201)
        seen(
            f"{dict(answers)}, refused within {slowest_s:.0f} s; {hung_threads - threads} threads more; "
            f"a new session's cell after {recovered_s:.1f} s"
        )
        final = await scene.first.follow_to_end(reading, 90)
        assert lines_of(final) == expected_lines(120)
        assert readiness.status == 503
        assert hung_threads - threads <= MORE_THREADS
        assert_typed(answers)
        assert slowest_s < LONGEST_ANSWER_S
        await scene.check(grace_s=60)


@pytest.mark.fault(
    "The service starts while the engine is away, and the engine comes later",
    "the process says why it cannot start and ends; started again with the engine there, it has its sessions",
)
async def test_a_start_without_an_engine_says_why(private_docker, tmp_path, seen):
    private_docker.live_restore = True
    await private_docker.stopped()
    await private_docker.started()
    async with open_scene(tmp_path, spec_for(private_docker)) as scene:
        replica = scene.cluster.replicas[0]
        session_id = await scene.first.opened()
        await scene.first.ran(session_id, "kept = 1")
        replica.kill()
        await private_docker.stopped()
        with pytest.raises(AssertionError, match="container engine"):
            await replica.start()
        with pytest.raises(NobodyUp):
            await scene.first.open()
        await private_docker.started()
        await replica.start()
        assert (await scene.first.ran(session_id, "print(kept)"))["kernel"]["state"] == "kept"
        await scene.check()
