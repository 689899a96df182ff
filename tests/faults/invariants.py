"""The invariants, checked over a history and over what is really there. Each finding is one sentence.

I1 a session id has at most one live container
I2 an execution has at most one terminal result, which never changes
I3 an execution's code starts at most once
I4 an execution's events are gap-free or carry a gap marker
I5 after the grace time no container without a record, and no record without a container
I6 no answer carries another tenant's token
I7 counted quota equals reality when quiet
I8 what was reported as done is visible to every later read on every replica
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

from tests.faults.history import ENDED, FINAL, LIVE, Call, Event, History, Reading, result_of, shown
from tests.faults.reality import SeenSandbox


def check_history(history: History) -> list[str]:
    """What the calls alone show to be broken."""
    return [
        *(f"I1 {finding}" for finding in sorted(history.double_live)),
        *(f"I2 {finding}" for finding in changed_results(history)),
        *(f"I3 {finding}" for finding in double_starts(history)),
        *(f"I4 {finding}" for reading in history.readings for finding in broken_order(reading)),
        *(f"I6 {finding}" for finding in history.leaks),
        *(f"I8 {finding}" for finding in forgotten_results(history)),
        *(f"I8 {finding}" for finding in forgotten_sessions(history)),
        *(f"I8 {finding}" for finding in contradicting_readings(history)),
    ]


def double_live(sandboxes: Sequence[SeenSandbox]) -> list[str]:
    """Sessions that have more than one live container at this moment."""
    counts = Counter(one.session for one in sandboxes if one.is_live and one.session)
    return [f"{session} has {count} containers" for session, count in counts.items() if count > 1]


def changed_results(history: History) -> Iterator[str]:
    results: dict[str, str] = {}
    for _, _, replica, execution in history.executions_seen():
        if execution["status"] not in FINAL:
            continue
        result = result_of(execution)
        first = results.setdefault(execution["id"], result)
        if result != first:
            yield f"{execution['id']} on {replica}: {_difference(first, result)}"


def double_starts(history: History) -> Iterator[str]:
    for session_id, marks in history.starts.items():
        for mark, count in marks.items():
            if count > 1:
                yield f"{mark} started {count} times in {session_id}"


def broken_order(reading: Reading) -> Iterator[str]:
    """Numbers rise by one; where they do not, a gap says so. The end comes once, at the end."""
    last = 0
    for event in reading.events:
        assert event.id is not None
        if event.type == "gap":
            if not (event.data["from_id"] <= last + 1 and event.data["to_id"] == event.id > last):
                yield f"{reading.execution_id}: a gap {event.data} behind event {last}"
        elif event.id != last + 1:
            yield f"{reading.execution_id}: event {event.id} behind event {last}"
        last = event.id
    ends = [n for n, event in enumerate(reading.events, 1) if event.type == "execution.completed"]
    if ends not in ([], [len(reading.events)]):
        yield f"{reading.execution_id}: completed at {ends} of {len(reading.events)} events"


def contradicting_readings(history: History) -> Iterator[str]:
    """Who has read all events holds what the final record holds."""
    for reading in history.readings:
        final = reading.final
        if final is None or _has_gap(reading.events):
            continue
        if shown(reading.events) != final["outputs"]:
            yield f"{reading.execution_id}: the events add up to something else than the result"


def _has_gap(events: Sequence[Event]) -> bool:
    return any(event.type == "gap" for event in events)


def forgotten_results(history: History) -> Iterator[str]:
    """Once an execution was reported as final, nobody is told later that it is not, or not there."""
    final_at: dict[str, float] = {}
    for _, ended, _, execution in history.executions_seen():
        if execution["status"] in FINAL:
            known = final_at.get(execution["id"], ended)
            final_at[execution["id"]] = min(known, ended)
    for call in history.calls:
        if call.kind != "read_execution" or call.started < final_at.get(
            call.execution_id, float("inf")
        ):
            continue
        if call.status == 404 or (call.is_ok and call.body["status"] not in FINAL):
            yield f"{call.execution_id} was final, then on {call.replica}: {call}"


def forgotten_sessions(history: History) -> Iterator[str]:
    """Once open, never unknown; once ended, never live again."""
    opened_at: dict[str, float] = {}
    ended_at: dict[str, float] = {}
    for call in history.calls:
        status = call.body.get("status") if call.body.get("object") == "session" else None
        if status is None:
            continue
        known = ended_at if status in ENDED else opened_at
        known[call.session_id] = min(known.get(call.session_id, call.ended), call.ended)
    for call in history.calls:
        if call.started > opened_at.get(call.session_id, float("inf")) and _says_unknown(call):
            yield f"{call.session_id} was open, then on {call.replica}: {call}"
        if call.started > ended_at.get(call.session_id, float("inf")) and _says_live(call):
            yield f"{call.session_id} had ended, then on {call.replica}: {call}"


def _says_unknown(call: Call) -> bool:
    return call.status == 404 and bool(call.session_id)


def _says_live(call: Call) -> bool:
    if call.body.get("object") == "session":
        return call.body["status"] in LIVE
    return call.kind == "run" and call.is_ok


def sandboxes_without_record(
    sandboxes: Sequence[SeenSandbox],
    directories: Sequence[str],
    live_sessions: set[str],
    pooled: int,
) -> list[str]:
    """What only the engine has, and what only the records have, when nothing is on its way."""
    findings = []
    of_sessions: defaultdict[str, list[SeenSandbox]] = defaultdict(list)
    for one in sandboxes:
        of_sessions[one.session].append(one)
    unnamed = len(of_sessions.pop("", []))
    stray = sorted(set(of_sessions) - live_sessions)
    findings.extend(f"a container of {session}, which has ended" for session in stray)
    without = live_sessions - set(of_sessions)
    if len(without) + pooled != unnamed:
        findings.append(
            f"{len(without)} sessions and {pooled} pooled have {unnamed} containers: {sorted(without)}"
        )
    dead = [one.sandbox_id for one in sandboxes if not one.is_live]
    findings.extend(f"{sandbox_id} is there and does not run" for sandbox_id in dead)
    names = {one.sandbox_id for one in sandboxes}
    findings.extend(f"a control directory {name} of nothing" for name in {*directories} - names)
    uids = Counter(one.uid for one in sandboxes if one.uid is not None)
    findings.extend(f"user id {uid} is used {n} times" for uid, n in uids.items() if n > 1)
    return findings


def _difference(first: str, second: str) -> str:
    """Where two results begin to differ."""
    at = next((i for i, (a, b) in enumerate(zip(first, second, strict=False)) if a != b), 0)
    start = max(0, at - 30)
    return f"...{first[start : at + 60]}... became ...{second[start : at + 60]}..."
