"""Activity that comes at the moment of expiry: the session lives on, or the call is told 410, never both."""

import asyncio
import random
import time
from collections import Counter
from datetime import UTC, datetime

from tests.faults.callers import Caller
from tests.faults.history import Call, text_of
from tests.faults.scene import Scene

IDLE_TTL_S = 1.0
NEAR_S = 0.06
EXPIRY = {
    "SANDBOX_IDLE_TTL_MIN_S": "0.5",
    "SANDBOX_SWEEP_INTERVAL_S": "0.05",
}


async def race(scene: Scene, rounds: int, lines: int) -> Counter[str]:
    """So many calls at the moment of expiry, in several lines; how often the session lived on or was gone."""
    outcomes: Counter[str] = Counter()

    async def line(number: int) -> None:
        caller = scene.first if number % 2 else scene.second
        session_id = ""
        for _ in range(rounds // lines):
            session_id = session_id or await caller.opened(idle_ttl_s=IDLE_TTL_S)
            outcome = await one_round(caller, session_id)
            outcomes[outcome] += 1
            if outcome == "gone":
                session_id = ""

    await asyncio.gather(*(line(number) for number in range(lines)))
    return outcomes


async def one_round(caller: Caller, session_id: str) -> str:
    """One call at about the moment of expiry. Raises AssertionError for any answer that is neither."""
    seen = await caller.read_session(session_id)
    if seen.body["status"] != "ready":
        return "gone"
    await _sleep_until(seen.body["expires_at"], random.uniform(-NEAR_S, NEAR_S))
    call, expected = await _activity(caller, session_id)
    if call.status == 410:
        assert call.error_code == "session_expired", call
        after = await caller.read_session(session_id)
        assert after.body["status"] == "expired", after
        return "gone"
    assert call.is_ok, call
    assert expected in text_of(call.body) or not expected, call
    after = await caller.run(session_id, "print('after')")
    assert after.status in (200, 410), after
    assert after.is_ok or time.monotonic() - call.ended > IDLE_TTL_S / 2, f"{call}, then {after}"
    return "lived on"


async def _activity(caller: Caller, session_id: str) -> tuple[Call, str]:
    word = f"word{random.randrange(10**9)}"
    kind = random.choice(["run", "run", "touch", "put"])
    if kind == "run":
        return await caller.run(session_id, f"print('{word}')"), word
    if kind == "touch":
        return await caller.touch(session_id), ""
    path = f"/v1/sessions/{session_id}/files/{word}"
    call = await caller.call("put", "PUT", path, session_id=session_id, content=word.encode())
    return call, ""


async def _sleep_until(moment: str, offset_s: float) -> None:
    at = datetime.fromisoformat(moment)
    await asyncio.sleep(max(0.0, (at - datetime.now(UTC)).total_seconds() + offset_s))
