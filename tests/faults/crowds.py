"""Many callers at once: those who hang up, those who never read, those who all want a session."""

import asyncio
import random
import secrets
import time
from collections import Counter
from dataclasses import dataclass

from tests.faults.callers import Caller
from tests.faults.history import FINAL, Json, text_of
from tests.faults.raw import Request, deaf_connection, hang_up, request
from tests.faults.reality import use_of
from tests.faults.scene import Scene

AT_A_TIME = 100
QUIET_S = 120.0
LOUD = "for number in range(40_000): print('x' * 100, number)"
MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class HangUps:
    """How many hung up where, and what became of what they had started."""

    points: Counter[str]
    statuses: Counter[str]
    sessions: int


async def hang_ups(scene: Scene, clients: int, sessions_each: int) -> HangUps:
    """Clients of two tenants hang up at random points; everything they started must end well."""
    sessions = {
        name: [await caller.opened() for _ in range(sessions_each)]
        for name, caller in scene.callers.items()
    }
    known = [(name, one) for name, ids in sessions.items() for one in ids]
    points = await hang_ups_on(scene, known, clients)
    statuses: Counter[str] = Counter()
    count = 0
    for caller in scene.callers.values():
        for session in await caller.sessions():
            count += 1
            statuses.update(await ends_of(scene, caller, session["id"]))
    return HangUps(points, statuses, count)


async def hang_ups_on(scene: Scene, sessions: list[tuple[str, str]], clients: int) -> Counter[str]:
    """Clients hang up on cells in these sessions, (tenant, id) each, and one in a hundred on an opening."""
    chance = random.Random(secrets.randbits(32))
    turns = asyncio.Semaphore(AT_A_TIME)

    async def one(number: int) -> str:
        async with turns:
            tenant, session_id = chance.choice(sessions)
            caller = scene.callers[tenant]
            sent = _cell(scene, caller, session_id, chance)
            if number % 100 == 99:
                key = scene.cluster.keys[tenant]
                sent = request("POST", "/v1/sessions", key, {"metadata": {"of": caller.token}})
            up = scene.cluster.up
            return await hang_up(chance.choice(up), sent, chance) if up else "nobody up"

    return Counter(await asyncio.gather(*(one(number) for number in range(clients))))


def _cell(scene: Scene, caller: Caller, session_id: str, chance: random.Random) -> Request:
    code = "import time\nfor _ in range(3): print('here', flush=True); time.sleep(0.01)"
    body = {
        "code": caller.marked(code),
        "stream": chance.random() < 0.7,
        "cancel_on_disconnect": chance.random() < 0.2,
    }
    path = f"/v1/sessions/{session_id}/executions"
    return request("POST", path, scene.cluster.keys[caller.tenant], body)


async def ends_of(scene: Scene, caller: Caller, session_id: str) -> Counter[str]:
    """Wait until nothing runs in the session; how its executions ended, each held to its output."""
    last = time.monotonic() + QUIET_S
    while not all(one["status"] in FINAL for one in await executions(caller, session_id)):
        assert time.monotonic() < last, f"{session_id} is not quiet after {QUIET_S:g} s"
        await asyncio.sleep(0.3)
    ended = await executions(caller, session_id)
    for one in ended:
        if one["status"] == "ok" and caller.token in text_of(one):
            assert text_of(one).count("mark") == 1, one
            assert text_of(one).count("here") in (0, 3), one
    return Counter(one["status"] for one in ended)


async def executions(caller: Caller, session_id: str) -> list[Json]:
    """Every execution of the session, over all pages."""
    found: list[Json] = []
    after: str | None = None
    path = f"/v1/sessions/{session_id}/executions"
    while True:
        params = {"limit": 100, **({"after": after} if after else {})}
        page = await caller.call(
            "list_executions", "GET", path, session_id=session_id, params=params
        )
        assert page.is_ok, page
        found.extend(page.body["data"])
        after = page.body["next_cursor"]
        if after is None:
            return found


@dataclass(frozen=True, slots=True)
class Deafness:
    """What readers that never read cost, and what others noticed of them."""

    dropped: int
    grown_bytes: int
    slowest_cell_s: float
    descriptors_left: int


async def deaf_readers(scene: Scene, readers: int, stall_s: float) -> Deafness:
    """Readers of a loud cell's events and of a large file never read; another's cells go on."""
    session_id, other = await scene.first.opened(), await scene.second.opened()
    write = "open('big.bin', 'wb').write(bytes(32 * 1024 * 1024)); print('loud')"
    await scene.first.ran(session_id, write)
    loud = await scene.first.ran(session_id, LOUD)
    replica = scene.cluster.replicas[0]
    before = use_of(replica.pid)
    key = scene.cluster.keys["first"]
    stream = f"/v1/sessions/{session_id}/executions/{loud['id']}/events"
    download = f"/v1/sessions/{session_id}/files/big.bin"
    lines = [
        await asyncio.to_thread(
            deaf_connection, replica, request("GET", stream if n % 2 else download, key)
        )
        for n in range(readers)
    ]
    try:
        slowest_s, most_bytes = await _cells_beside(scene, other, stall_s * 2 + 3)
        dropped = int(await scene.metric("sandbox_readers_dropped_total"))
        await asyncio.sleep(stall_s)
        after = use_of(replica.pid)
    finally:
        for line in lines:
            line.close()
    left = after.descriptors - before.descriptors
    return Deafness(dropped, most_bytes - before.resident_bytes, slowest_s, left)


async def _cells_beside(scene: Scene, session_id: str, seconds: float) -> tuple[float, int]:
    slowest_s, most_bytes = 0.0, 0
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        call = await scene.second.run(session_id, "print('beside')")
        assert call.is_ok, call
        slowest_s = max(slowest_s, call.took_s)
        most_bytes = max(most_bytes, use_of(scene.cluster.replicas[0].pid).resident_bytes)
        await asyncio.sleep(0.1)
    return slowest_s, most_bytes


async def rush(scene: Scene, opens: int) -> Counter[str]:
    """So many opens at once, by two tenants; how often each answer came."""
    callers = list(scene.callers.values())
    asked = [callers[number % 2].open() for number in range(opens)]
    calls = await asyncio.gather(*asked)
    return Counter(f"{call.status} {call.error_code}".strip() for call in calls)
