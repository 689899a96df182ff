"""Parsing of server-sent events, and what output events do to a list of outputs."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from sandbox_service.client import (
    EventsSkipped,
    ExecutionCompleted,
    ExecutionStarted,
    LiveOutputs,
    OutputChanged,
    ProtocolError,
)
from sandbox_service.client.parsing import parse_execution
from sandbox_service.client.results import Output
from sandbox_service.client.sse import ServerSentEvent, parse_events
from sandbox_service.client.transport import Transport


async def chunks_of(text: str, size: int) -> AsyncIterator[bytes]:
    content = text.encode()
    for start in range(0, len(content), size):
        yield content[start : start + size]


@pytest.mark.parametrize("size", [1, 7, 10_000])
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("data: a\n\n", [ServerSentEvent("message", "a", "")]),
        ("event: x\ndata: a\nid: 3\n\n", [ServerSentEvent("x", "a", "3")]),
        ("data: a\ndata: b\n\n", [ServerSentEvent("message", "a\nb", "")]),
        ("data:a\n\n", [ServerSentEvent("message", "a", "")]),
        (": ping\n\ndata: a\n\n", [ServerSentEvent("message", "a", "")]),
        ("event: x\n\n", []),
        ("data: unfinished", []),
        ("data: unfinished\n", []),
        ("id: 1\ndata: a\n\ndata: b\n\n", [
            ServerSentEvent("message", "a", "1"), ServerSentEvent("message", "b", "1")]),
        ("retry: 5\nunknown: 1\ndata: a: b\n\n", [ServerSentEvent("message", "a: b", "")]),
        ("data: a\r\n\r\n", [ServerSentEvent("message", "a", "")]),
        ("data: na\u00efve \U0001f600\n\n", [
            ServerSentEvent("message", "na\u00efve \U0001f600", "")]),
        ("data: a\u2028b\u2029c\x85d\x0be\n\n", [
            ServerSentEvent("message", "a\u2028b\u2029c\x85d\x0be", "")]),
    ],
)  # fmt: skip
async def test_bytes_become_events(text: str, size: int, expected: list[ServerSentEvent]) -> None:
    """The cases of the standard that matter here, however the bytes are cut."""
    assert [event async for event in parse_events(chunks_of(text, size))] == expected


def stream(text: str) -> dict[str, Any]:
    return {"output_type": "stream", "name": "stdout", "text": text}


@pytest.mark.parametrize(
    ("action", "index", "output", "after"),
    [
        ("append", 2, stream("c"), ["a", "b", "c"]),
        ("extend", 1, stream("+"), ["a", "b+"]),
        ("replace", 0, stream("z"), ["z", "b"]),
        ("clear", 0, {}, []),
    ],
)
def test_an_output_event_changes_the_list(
    action: Any, index: int, output: dict[str, Any], after: list[str]
) -> None:
    """Each action, on two nodes."""
    outputs = [stream("a"), stream("b")]
    OutputChanged(1, action, index, output).apply(outputs)
    assert [node["text"] for node in outputs] == after


def test_a_change_that_does_not_fit_is_a_protocol_error() -> None:
    """An index that is not there is the service's mistake."""
    with pytest.raises(ProtocolError):
        OutputChanged(1, "extend", 3, stream("x")).apply([])


def completed(outputs: list[Output]) -> ExecutionCompleted:
    body = {
        "id": "exec_1",
        "session_id": "sess_1",
        "status": "ok",
        "outputs": outputs,
        "artifacts": [],
        "kernel": {"epoch": 1, "state": "kept"},
        "session_expires_at": "2026-01-02T03:04:05Z",
    }
    return ExecutionCompleted(99, parse_execution(body, Transport("http://x.test", None)))


def test_live_outputs_follow_the_events() -> None:
    """What is there after each event, and the final form at the end."""
    live = LiveOutputs()
    live.add(ExecutionStarted(1, "exec_1"))
    live.add(OutputChanged(2, "append", 0, stream("a")))
    live.add(OutputChanged(3, "extend", 0, stream("b")))
    assert live.outputs == [stream("ab")]
    live.add(completed([stream("abc")]))
    assert live.outputs == [stream("abc")]


def test_text_that_grows_line_by_line_is_joined_when_somebody_looks() -> None:
    """With every line it would be copied whole: 200 GB for these."""
    live, line = LiveOutputs(), "x" * 999 + "\n"
    live.add(OutputChanged(1, "append", 0, stream("a")))
    for number in range(20_000):
        live.add(OutputChanged(2 + number, "extend", 0, stream(line)))
    assert live.outputs == [stream("a" + line * 20_000)]


def test_text_that_fits_no_node_is_a_protocol_error() -> None:
    live = LiveOutputs()
    live.add(OutputChanged(1, "append", 0, {"output_type": "display_data", "data": {}}))
    with pytest.raises(ProtocolError):
        live.add(OutputChanged(2, "extend", 0, stream("b")))


def live_after_a_gap() -> LiveOutputs:
    live = LiveOutputs()
    live.add(OutputChanged(2, "append", 0, stream("a")))
    live.add(EventsSkipped(90, 3, 90, "overflow"))
    live.add(OutputChanged(91, "extend", 7, stream("z")))
    return live


def test_live_outputs_stand_still_after_a_gap_until_the_result_comes() -> None:
    """A change after lost ones would not fit, or would fit wrongly."""
    live = live_after_a_gap()
    assert (live.outputs, live.is_current) == ([stream("a")], False)
    live.add(completed([stream("all of it")]))
    assert (live.outputs, live.is_current) == ([stream("all of it")], True)


def test_live_outputs_go_on_after_a_gap_when_the_list_is_cleared() -> None:
    """From an empty list every change can be placed again."""
    live = live_after_a_gap()
    live.add(OutputChanged(92, "clear", 0, {}))
    live.add(OutputChanged(93, "append", 0, stream("b")))
    assert (live.outputs, live.is_current) == ([stream("b")], True)
