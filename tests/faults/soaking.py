"""A soak: callers who work all the time, and a random fault every few seconds."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field

import httpx

from tests.faults.callers import Caller
from tests.faults.cells import counting, expected_lines, lines_of
from tests.faults.crowds import hang_ups_on
from tests.faults.history import Call, Json, text_of
from tests.faults.reality import DockerReality
from tests.faults.scene import Scene
from tests.support.cluster import Replica
from tests.support.private_engine import PrivateEngine
from tests.support.redis_server import RedisServer
from tests.support.tcp_proxy import TcpProxy

PATIENCE_S = 120.0
OVER = frozenset({"session_lost", "session_expired", "session_closed"})


@dataclass(slots=True)
class Soak:
    """The parts, what the faults excuse, and counts of what was done. `steady` is never killed."""

    scene: Scene
    redis: RedisServer
    line_to_redis: TcpProxy
    engine: PrivateEngine
    steady: Replica
    struck: set[str] = field(default_factory=set)
    did: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)

    @property
    def mortal(self) -> list[Replica]:
        return [one for one in self.scene.cluster.replicas if one is not self.steady]

    async def run(self, seconds: float) -> None:
        """Work and faults for so long, then work to its end."""
        until = time.monotonic() + seconds
        async with asyncio.TaskGroup() as group:
            for number in range(6):
                caller = self.scene.first if number % 2 else self.scene.second
                group.create_task(self.work(caller, until))
            group.create_task(self._strike(until))

    async def work(self, caller: Caller, until: float) -> None:
        """Sessions one after the other, a few cells in each, until then."""
        while time.monotonic() < until:
            session_id = await caller.opened(deadline_s=PATIENCE_S, idle_ttl_s=600)
            self.did["sessions"] += 1
            for number in range(random.randrange(2, 7)):
                if not await self._cell(caller, session_id, number):
                    break
            else:
                await caller.witness(session_id, PATIENCE_S)
                await caller.insist(lambda one=session_id: caller.close(one), PATIENCE_S)

    async def _cell(self, caller: Caller, session_id: str, number: int) -> bool:
        """One cell, plain or streamed; False when its session is over, which a fault must excuse."""
        key = f"{session_id}-{number}"
        if random.random() < 0.3:
            return await self._streamed(caller, session_id, key)
        code = caller.marked("n = globals().get('n', 0) + 1; print('n is', n)")
        path = f"/v1/sessions/{session_id}/executions"
        call = await caller.insist(
            lambda: caller.call(
                "run",
                "POST",
                path,
                key=key,
                session_id=session_id,
                json={"code": code, "stream": False},
            ),
            PATIENCE_S,
        )
        if self._is_over(session_id, call):
            return False
        assert call.status == 200, call
        if not self._is_excused(session_id, call.body):
            assert "n is" in text_of(call.body), call.body
            self.did["cells"] += 1
        return True

    async def _streamed(self, caller: Caller, session_id: str, key: str) -> bool:
        code = counting(20, 0.1)
        last = time.monotonic() + PATIENCE_S
        reading = await caller.stream(session_id, code, key=key)
        while not reading.execution_id:
            call = self.scene.history.calls[-1]
            known = await caller.read_session(session_id)
            if known.is_ok and known.body["status"] != "ready":
                return not self._is_over(session_id, known)
            assert time.monotonic() < last, call
            await asyncio.sleep(0.3)
            reading = await caller.stream(session_id, code, key=key)
        final = await caller.follow_to_end(reading, PATIENCE_S)
        if not self._is_excused(session_id, final):
            assert lines_of(final) == expected_lines(20), final
            self.did["streams"] += 1
        return True

    def _is_over(self, session_id: str, call: Call) -> bool:
        """Whether the session has ended; only one whose container was struck may have."""
        is_over = call.error_code in OVER or call.body.get("status") == "lost"
        assert not is_over or session_id in self.struck, f"lost without a reason: {call}"
        self.did["sessions lost with their container"] += is_over
        return is_over

    def _is_excused(self, session_id: str, execution: Json) -> bool:
        """Whether it ended badly because its container was struck."""
        if execution["status"] == "ok":
            return False
        assert session_id in self.struck, f"ended badly without a reason: {execution}"
        return True

    async def _strike(self, until: float) -> None:
        faults: list[Callable[[], Awaitable[None]]] = [
            self.kill_a_replica,
            self.freeze_a_replica,
            self.stop_a_replica,
            self.kill_redis,
            self.pause_redis,
            self.cut_lines_to_redis,
            self.freeze_the_engine,
            self.kill_the_engine,
            self.kill_a_container,
            self.pause_a_container,
            self.hang_up_many,
        ]
        while time.monotonic() < until:
            await asyncio.sleep(random.uniform(1, 5))
            fault = random.choice(faults)
            self.faults[fault.__name__.replace("_", " ")] += 1
            await fault()

    async def kill_a_replica(self) -> None:
        replica = random.choice(self.mortal)
        replica.kill()
        await asyncio.sleep(random.uniform(0, 8))
        await self._start(replica)

    async def freeze_a_replica(self) -> None:
        replica = random.choice(self.scene.cluster.replicas)
        replica.freeze()
        await asyncio.sleep(random.uniform(1, 12))
        replica.thaw()

    async def stop_a_replica(self) -> None:
        replica = random.choice(self.mortal)
        await replica.terminate()
        await self._start(replica)

    async def _start(self, replica: Replica) -> None:
        """A start may meet what another fault has left: an operator's supervisor tries again."""
        for _ in range(20):
            try:
                await replica.start()
                return
            except AssertionError:
                await asyncio.sleep(1)
        raise AssertionError(f"{replica.name} does not start:\n{replica.log_end()}")

    async def kill_redis(self) -> None:
        self.redis.kill()
        await asyncio.sleep(random.uniform(0, 5))
        await asyncio.to_thread(self.redis.start)

    async def pause_redis(self) -> None:
        self.redis.pause()
        await asyncio.sleep(random.uniform(0.5, 5))
        self.redis.resume()

    async def cut_lines_to_redis(self) -> None:
        for _ in range(5):
            self.line_to_redis.cut()
            await asyncio.sleep(0.3)

    async def freeze_the_engine(self) -> None:
        self.engine.freeze()
        await asyncio.sleep(random.uniform(1, 8))
        self.engine.thaw()

    async def kill_the_engine(self) -> None:
        self.engine.kill()
        await asyncio.sleep(random.uniform(0, 3))
        await self.engine.started()

    async def kill_a_container(self) -> None:
        await self._on_a_container(["kill"])

    async def pause_a_container(self) -> None:
        await self._on_a_container(["pause", "unpause"])

    async def _on_a_container(self, actions: list[str]) -> None:
        reality = self.scene.reality
        assert isinstance(reality, DockerReality)
        with suppress(httpx.HTTPError):
            live = [one for one in await reality.sandboxes() if one.is_live]
            if not live:
                return
            chosen = random.choice(live)
            if "kill" in actions:
                self.struck.add(chosen.session)
            for action in actions:
                await reality.api.act(chosen.engine_id, action)
                await asyncio.sleep(random.uniform(1, 5))

    async def hang_up_many(self) -> None:
        live = [(call.tenant, call.session_id) for call in self.scene.history.calls[-200:]]
        known = [(tenant, session_id) for tenant, session_id in live if session_id]
        if known:
            await hang_ups_on(self.scene, known, 30)
