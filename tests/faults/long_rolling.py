"""Rolling restarts under load lose nothing; `make faults` only."""

import asyncio
import signal
import time
from collections import Counter

import pytest

from tests.faults.cells import counting, expected_lines, lines_of
from tests.faults.history import text_of
from tests.faults.scene import Scene, open_scene
from tests.support.cluster import ClusterSpec

pytestmark = [pytest.mark.docker, pytest.mark.timeout(600)]
LINES = 4
DRAIN = {"SANDBOX_DRAIN_S": "3"}


async def load(scene: Scene, until: float) -> Counter[str]:
    """Callers with sessions that live through it, new sessions, and streams; what they did, counted."""
    did: Counter[str] = Counter()

    async def counting_line(number: int) -> None:
        caller = scene.first if number % 2 else scene.second
        session_id = await caller.opened()
        await caller.ran(session_id, "n = 0")
        while time.monotonic() < until:
            did["cells"] += 1
            result = await caller.ran(session_id, "n += 1; print('n is', n)")
            expected = f"n is {did[f'of line {number}'] + 1}\n"
            assert text_of(result).endswith(expected), (result, expected)
            did[f"of line {number}"] += 1

    async def streaming_line() -> None:
        session_id = await scene.first.opened()
        while time.monotonic() < until:
            reading = await scene.first.stream(session_id, counting(40, 0.1), key=_key(did))
            if reading.execution_id:
                final = await scene.first.follow_to_end(reading, 60)
                assert lines_of(final) == expected_lines(40)
                did["streams"] += 1

    async def opening_line() -> None:
        while time.monotonic() < until:
            session_id = await scene.second.opened()
            await scene.second.ran(session_id, "print(1)")
            await scene.second.insist(lambda one=session_id: scene.second.close(one), 60)
            did["sessions"] += 1

    async with asyncio.TaskGroup() as group:
        for number in range(LINES):
            group.create_task(counting_line(number))
        group.create_task(streaming_line())
        group.create_task(opening_line())
    return Counter({name: did[name] for name in ("cells", "streams", "sessions")})


def _key(did: Counter[str]) -> str:
    did["keys"] += 1
    return f"stream-{did['keys']}"


def refused(scene: Scene) -> Counter[str]:
    """The calls that got no answer, or one that says "later"."""
    return Counter(
        call.broken or call.error_code
        for call in scene.history.calls
        if call.status in (None, 503) or call.broken
    )


@pytest.mark.fault(
    "SIGHUP to `serve --workers 2` (Redis), twice, under load",
    "no cell, variable or session is lost, no connection is refused; streams go on where they were",
)
async def test_workers_are_replaced_one_by_one(engine, redis, tmp_path, seen):
    spec = ClusterSpec(redis_url=redis.url, arguments=("--workers", "2"), environment=DRAIN)
    async with open_scene(tmp_path, spec) as scene:
        supervisor = scene.cluster.replicas[0]
        working = asyncio.create_task(load(scene, time.monotonic() + 45))
        for _ in range(2):
            await asyncio.sleep(5)
            supervisor.signal(signal.SIGHUP)
            await asyncio.sleep(12)
        did = await working
        seen(f"{dict(did)}; asked again: {dict(refused(scene))}")
        assert min(did.values()) > 0
        assert "ConnectError" not in refused(scene)
        started = supervisor.log_path.read_text().count("Started server process")
        assert started == 2 + 4, f"{started} worker processes were started"
        await scene.check()


@pytest.mark.fault(
    "SIGTERM to one replica after the other (Redis), each started again, under load",
    "no cell, variable or session is lost; streams go on at the other replica",
)
async def test_replicas_are_restarted_one_by_one(engine, redis, tmp_path, seen):
    spec = ClusterSpec(replicas=2, redis_url=redis.url, environment=DRAIN)
    async with open_scene(tmp_path, spec) as scene:
        working = asyncio.create_task(load(scene, time.monotonic() + 45))
        for replica in scene.cluster.replicas * 2:
            await asyncio.sleep(4)
            assert await replica.terminate() == 0
            await replica.start()
        did = await working
        seen(f"{dict(did)}; asked again: {dict(refused(scene))}")
        assert min(did.values()) > 0
        await scene.check()


@pytest.mark.fault(
    "SIGTERM to the only process (memory store) in the middle of a cell that takes longer than the drain",
    "readiness drops first, the stream ends with where to resume, the next process has the cell",
)
async def test_a_stop_says_where_to_resume(engine, tmp_path, seen):
    async with open_scene(tmp_path, ClusterSpec(environment=DRAIN)) as scene:
        replica = scene.cluster.replicas[0]
        session_id = await scene.first.opened()
        streaming = asyncio.create_task(scene.first.stream(session_id, counting(40, 0.25)))
        await asyncio.sleep(2)
        ending = asyncio.create_task(replica.terminate())
        await asyncio.sleep(0.5)
        readiness = await scene.first.call("readyz", "GET", "/readyz", replica=replica)
        assert readiness.status == 503
        refusal = await scene.first.open(replica=replica)
        assert (refusal.status, refusal.error_code) == (503, "shutting_down"), refusal
        reading = await streaming
        last = [call for call in scene.history.calls if call.kind == "stream"][-1].events[-1]
        assert last.type == "stream.interrupted", last
        assert last.data["last_event_id"] == reading.last_id
        assert await ending == 0
        await replica.start()
        final = await scene.first.follow_to_end(reading, 60)
        assert lines_of(final) == expected_lines(40)
        await scene.check()
