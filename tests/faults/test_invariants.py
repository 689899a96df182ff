"""The checker finds each kind of damage: one that finds nothing would prove nothing."""

import pytest

from tests.faults.history import Event, History, Json, Reading
from tests.faults.invariants import (
    broken_order,
    check_history,
    double_live,
    sandboxes_without_record,
)
from tests.faults.reality import SeenSandbox


def execution(status: str = "ok", **changes: object) -> Json:
    outputs = [{"output_type": "stream", "name": "stdout", "text": "hello"}]
    record = {"id": "exec_1", "session_id": "sess_1", "object": "execution", "status": status}
    return {**record, "outputs": outputs, "artifacts": [], **changes}


def answered(history: History, kind: str, body: Json, status: int = 200, **ids: str) -> None:
    call = history.begin(kind, "first", "replica-0", **ids)
    call.status, call.body = status, body
    call.execution_id = ids.get("execution_id", body.get("id", ""))
    history.end(call, str(body))


def session(status: str) -> Json:
    return {"object": "session", "id": "sess_1", "status": status}


def output(number: int, text: str, action: str = "extend") -> Event:
    node = {"output_type": "stream", "name": "stdout", "text": text}
    return Event(number, "output", {"action": action, "index": 0, "output": node})


def box(name: str, session: str = "", *, is_live: bool = True, uid: int = 1) -> SeenSandbox:
    return SeenSandbox(name, name, session, uid, is_live)


def findings(history: History) -> list[str]:
    return [finding[:2] for finding in check_history(history)]


def test_a_session_with_two_live_containers_is_found():
    boxes = [box("a", "sess_1"), box("b", "sess_1"), box("c", "sess_2")]
    assert double_live(boxes) == ["sess_1 has 2 containers"]


def test_a_result_that_changes_is_found():
    history = History()
    answered(history, "run", execution())
    answered(history, "read_execution", execution(status="lost"))
    assert findings(history) == ["I2"]


def test_a_result_that_is_unfinished_again_is_found():
    history = History()
    answered(history, "run", execution())
    answered(history, "read_execution", execution(status="running"))
    assert findings(history) == ["I8"]


def test_a_link_that_is_signed_anew_is_no_change():
    history = History()
    for url in ("a", "b"):
        answered(history, "run", execution(artifacts=[{"id": "art_1", "url": url}]))
    assert findings(history) == []


def test_code_that_started_twice_is_found():
    history = History()
    history.note_starts("sess_1", ["mark1", "mark2", "mark1"])
    assert findings(history) == ["I3"]


@pytest.mark.parametrize(
    ("numbers", "is_broken"),
    [([1, 2, 3], False), ([1, 3], True), ([1, 2, 2], True), ([2], True)],
    ids=["whole", "one missing", "one twice", "first missing"],
)
def test_missing_and_repeated_events_are_found(numbers, is_broken):
    reading = Reading("first", "sess_1", "exec_1", [output(number, "x") for number in numbers])
    assert bool(list(broken_order(reading))) is is_broken


def test_a_gap_says_what_is_missing():
    gap = Event(5, "gap", {"from_id": 2, "to_id": 5, "reason": "overflow"})
    reading = Reading("first", "sess_1", "exec_1", [output(1, "x"), gap, output(6, "y")])
    assert list(broken_order(reading)) == []


def test_a_gap_that_leaves_something_out_is_found():
    gap = Event(5, "gap", {"from_id": 4, "to_id": 5, "reason": "overflow"})
    reading = Reading("first", "sess_1", "exec_1", [output(1, "x"), gap])
    assert len(list(broken_order(reading))) == 1


def test_events_that_add_up_to_something_else_than_the_result_are_found():
    history = History()
    end = Event(3, "execution.completed", {"execution": execution()})
    doubled = [output(1, "hello", "append"), output(2, "hello"), end]
    history.readings.append(Reading("first", "sess_1", "exec_1", doubled))
    assert findings(history) == ["I8"]


@pytest.mark.parametrize(
    ("boxes", "directories", "live", "pooled", "found"),
    [
        ([box("a", "s")], ["a"], {"s"}, 0, 0),
        ([box("a")], ["a"], set(), 1, 0),
        ([box("a", "s")], ["a"], set(), 0, 1),
        ([], [], {"s"}, 0, 1),
        ([box("a", "s", is_live=False)], ["a"], {"s"}, 0, 1),
        ([], ["a"], set(), 0, 1),
        ([box("a", "s"), box("b", "t")], [], {"s", "t"}, 0, 1),
    ],
    ids=["whole", "pool", "no record", "no container", "dead", "directory", "same user id"],
)
def test_halves_without_the_other_are_found(boxes, directories, live, pooled, found):
    assert len(sandboxes_without_record(boxes, directories, live, pooled)) == found


def test_another_tenants_token_is_found():
    history = History()
    history.tenant_token("second", "secret-of-second")
    answered(history, "run", execution(notices=["secret-of-second"]))
    assert findings(history) == ["I6"]


def test_a_session_that_is_forgotten_or_rises_again_is_found():
    history = History()
    answered(history, "open", session("ready"), 201, session_id="sess_1")
    answered(history, "read_session", {}, 404, session_id="sess_1")
    answered(history, "close", session("closed"), session_id="sess_1")
    answered(history, "read_session", session("ready"), session_id="sess_1")
    assert findings(history) == ["I8", "I8"]
