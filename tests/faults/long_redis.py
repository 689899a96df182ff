"""Redis killed, away, silent, emptied, cut off: what runs goes on, what is new is refused at once."""

import asyncio
import time

import pytest

from tests.faults.callers import Caller
from tests.faults.cells import counting, expected_lines, lines_of
from tests.faults.engine_proxy import EngineProxy
from tests.faults.history import Call, Event, Reading, text_of
from tests.faults.openings import START
from tests.faults.scene import Scene, open_scene
from tests.support.cluster import ClusterSpec
from tests.support.redis_server import RedisServer
from tests.support.tcp_proxy import TcpProxy

pytestmark = [pytest.mark.docker, pytest.mark.timeout(600)]
AWAY_S = 60.0
AT_ONCE_S = 0.2
LONGEST_ANSWER_S = 3.0  # of a call that finds out that Redis says nothing
RECOVERY_S = 15.0
GRACE_S = 20.0


def first_output(event: Event) -> bool:
    return event.type == "output"


async def started(scene: Scene, code: str, **body: object) -> Reading:
    """A session of its own with a cell that has begun to print; its reader has hung up."""
    session_id = await scene.first.opened()
    return await scene.first.stream(session_id, code, stop=first_output, **body)


@pytest.mark.fault(
    "Redis killed with `kill -9` in the middle of cells on two replicas, and restarted after 3 s with its "
    "append-only file",
    "every cell ends as it should, every line once; sessions, results and quotas are what they were",
)
async def test_redis_restarted(engine, redis: RedisServer, tmp_path, seen):
    async with open_scene(tmp_path, ClusterSpec(replicas=2, redis_url=redis.url)) as scene:
        readings = [await started(scene, counting(40, 0.5)) for _ in range(3)]
        redis.kill()
        await asyncio.sleep(3)
        redis.start()
        back_at = time.monotonic()
        await scene.first.opened(deadline_s=30)
        seen(f"a new session {time.monotonic() - back_at:.1f} s after the restart")
        finals = [await scene.first.follow_to_end(reading, 60) for reading in readings]
        assert [lines_of(final) for final in finals] == [expected_lines(40)] * 3
        await scene.check()


async def knock(scene: Scene, until: float) -> list[Call]:
    """Ask for new sessions and new cells, again and again; the answers."""
    (session_id, *_) = sorted({call.session_id for call in scene.history.calls if call.session_id})
    calls = []
    while time.monotonic() < until:
        for replica in scene.cluster.up:
            calls.append(await scene.first.open(replica=replica))
            calls.append(await scene.first.run(session_id, "print(1)", replica=replica))
        await asyncio.sleep(1)
    return calls


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(
            kind,
            marks=pytest.mark.fault(
                f"Redis {words} for {AWAY_S:.0f} s, under running cells",
                "cells go on and deadlines hold; new work gets 503 with Retry-After at once; recovery by itself",
            ),
        )
        for kind, words in (("killed", "is away (killed)"), ("paused", "says nothing (SIGSTOP)"))
    ],
)
async def test_redis_away(engine, redis: RedisServer, tmp_path, seen, kind: str):
    async with open_scene(tmp_path, ClusterSpec(replicas=2, redis_url=redis.url)) as scene:
        goes_on = await started(scene, counting(80, 1))
        bounded = await started(scene, counting(1000, 1), timeout_s=20)
        redis.kill() if kind == "killed" else redis.pause()
        refused = await knock(scene, time.monotonic() + AWAY_S)
        redis.start() if kind == "killed" else redis.resume()
        back_at = time.monotonic()
        await scene.first.opened(deadline_s=60)
        recovered_s = time.monotonic() - back_at
        whole = await scene.first.follow_to_end(goes_on, 120)
        cut = await scene.first.follow_to_end(bounded, 60)
        ran_s = len(lines_of(cut))  # it prints one line in a second
        slow = [f"{call} in {call.took_s:.1f} s" for call in refused if call.took_s > AT_ONCE_S]
        slowest = sorted(call.took_s for call in refused)
        seen(
            f"half refused within {slowest[len(slowest) // 2] * 1000:.0f} ms, nine in ten within "
            f"{slowest[len(slowest) * 9 // 10]:.2f} s, all within {slowest[-1]:.1f} s; "
            f"a new session {recovered_s:.1f} s after the return; a deadline of 20 s held at "
            f"{ran_s} s"
        )
        assert {(call.status, call.error_code) for call in refused} == {(503, "store_unavailable")}
        assert all(call.retry_after for call in refused)
        assert slowest[len(slowest) // 2] < AT_ONCE_S
        assert slowest[-1] < LONGEST_ANSWER_S, slow
        assert recovered_s < RECOVERY_S
        assert (whole["status"], lines_of(whole)) == ("ok", expected_lines(80))
        assert (cut["status"], 15 < ran_s < 25) == ("timeout", True)
        await scene.check()


@pytest.mark.fault(
    "Redis emptied (FLUSHALL) under a running cell and an idle session, on two replicas",
    "calls get clean answers; live sandboxes are adopted by their labels, variables and owner kept; new sessions work; "
    "quotas are what is there",
)
async def test_redis_emptied(engine, redis: RedisServer, tmp_path, seen):
    async with open_scene(tmp_path, ClusterSpec(replicas=2, redis_url=redis.url)) as scene:
        idle = await scene.second.opened()
        await scene.second.ran(idle, "kept = 'still here'")
        busy = await started(scene, "kept = 'still here'\n" + counting(20, 0.5))
        redis.flush()
        emptied_at = time.monotonic()
        scene.history.start_over()
        call = await scene.first.follow(busy)
        assert (call.status, call.error_code) == (404, "not_found"), call
        await scene.first.opened()
        await until_ready(scene.second, idle, emptied_at + GRACE_S)
        await until_ready(scene.first, busy.session_id, emptied_at + GRACE_S)
        seen(f"both sessions are there again after {time.monotonic() - emptied_at:.1f} s")
        for caller, session_id in ((scene.second, idle), (scene.first, busy.session_id)):
            after = await caller.ran(session_id, "print(kept)")
            assert text_of(after).endswith("still here\n"), after
        scene.history.start_over()
        await scene.check()


async def until_ready(caller: Caller, session_id: str, last: float) -> None:
    """Returns when its owner can see the session again."""
    while not (call := await caller.read_session(session_id)).is_ok:
        assert call.status in (404, 503), call
        assert time.monotonic() < last, f"{session_id} is not adopted"
        await asyncio.sleep(0.3)
    assert call.body["status"] == "ready", call


@pytest.mark.fault(
    "Connections to Redis cut every 0.2 s for 15 s, under small cells on two replicas",
    "every cell asked for again under its key ends once, with its own output",
)
async def test_redis_connections_cut(engine, redis: RedisServer, tmp_path, seen):
    async with TcpProxy(redis.port) as proxy:
        url = f"redis://127.0.0.1:{proxy.port}/0"
        async with open_scene(tmp_path, ClusterSpec(replicas=2, redis_url=url)) as scene:
            sessions = [await scene.first.opened() for _ in range(3)]
            until = time.monotonic() + 15
            cutting = asyncio.create_task(cut_again_and_again(proxy, until))
            counts = await asyncio.gather(*(cells_until(scene, one, until) for one in sessions))
            await cutting
            seen(f"{sum(counts)} cells, {count_broken(scene)} answers of 5xx on the way")
            await scene.check()


async def cut_again_and_again(proxy: TcpProxy, until: float) -> None:
    while time.monotonic() < until:
        proxy.cut()
        await asyncio.sleep(0.2)


async def cells_until(scene: Scene, session_id: str, until: float) -> int:
    count = 0
    while time.monotonic() < until:
        result = await scene.first.ran(session_id, f"print('cell', {count})")
        assert f"cell {count}\n" in str(result["outputs"]).replace("\\n", "\n")
        count += 1
    return count


def count_broken(scene: Scene) -> int:
    return sum((call.status or 599) >= 500 for call in scene.history.calls)


@pytest.mark.fault(
    "One of two replicas is cut off from Redis for 20 s while it runs a cell",
    "the other takes the cell over; the one that comes back does no harm and serves again",
)
async def test_a_replica_is_cut_off_from_redis(engine, redis: RedisServer, tmp_path, seen):
    async with TcpProxy(redis.port) as proxy:
        spec = ClusterSpec(replicas=2, redis_url=redis.url)
        async with open_scene(tmp_path, spec) as scene:
            cut_off, other = scene.cluster.replicas
            cut_off.kill()
            cut_off.environment["SANDBOX_REDIS_URL"] = f"redis://127.0.0.1:{proxy.port}/0"
            await cut_off.start()
            session_id = await scene.first.opened()
            reading = await scene.first.stream(
                session_id, counting(60, 0.5), replica=cut_off, stop=first_output
            )
            await proxy.vanish()
            gone_at = time.monotonic()
            call = await scene.first.follow(reading, replica=other)
            assert call.is_ok, call
            assert reading.final is not None
            assert lines_of(reading.final) == expected_lines(60)
            await asyncio.sleep(max(0.0, 20 - (time.monotonic() - gone_at)))
            await proxy.come_back()
            served = await scene.first.insist(
                lambda: scene.first.run(session_id, "print(1)", replica=cut_off), RECOVERY_S
            )
            assert served.is_ok
            await scene.check()


@pytest.mark.fault(
    "Redis is killed in the middle of an opening, and comes back when that has failed",
    "the opening gets a typed 503; the same Idempotency-Key opens a session soon after, nothing else stays",
)
async def test_redis_goes_away_in_the_middle_of_an_opening(
    engine, redis: RedisServer, tmp_path, short_dir, seen
):
    async with EngineProxy(short_dir / "engine.sock") as proxy:
        spec = ClusterSpec(redis_url=redis.url, docker_url=proxy.url)
        async with open_scene(tmp_path, spec) as scene:
            hold = proxy.hold(START, "request", times=1)
            opening = asyncio.create_task(scene.first.open(key="once"))
            await hold.reached()
            redis.kill()
            hold.release()
            failed = await opening
            assert failed.status == 503, failed
            redis.start()
            back_at = time.monotonic()
            await scene.first.opened(key="once")
            seen(
                f"{failed.error_code} after {failed.took_s:.1f} s; open "
                f"{time.monotonic() - back_at:.1f} s after the return"
            )
            assert time.monotonic() - back_at < RECOVERY_S
            await scene.check()
            assert len(await scene.reality.sandboxes()) == 1
