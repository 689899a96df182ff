"""Parsing of server-sent events, and what output events do to a list of outputs."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from sandbox_service.client import OutputChanged, ProtocolError
from sandbox_service.client.sse import ServerSentEvent, parse_events


async def lines_of(text: str) -> AsyncIterator[str]:
    for line in text.split("\n"):
        yield line


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
        ("id: 1\ndata: a\n\ndata: b\n\n", [
            ServerSentEvent("message", "a", "1"), ServerSentEvent("message", "b", "1")]),
        ("retry: 5\nunknown: 1\ndata: a: b\n\n", [ServerSentEvent("message", "a: b", "")]),
    ],
)  # fmt: skip
async def test_lines_become_events(text: str, expected: list[ServerSentEvent]) -> None:
    """The cases of the standard that matter here."""
    assert [event async for event in parse_events(lines_of(text))] == expected


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
