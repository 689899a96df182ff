"""Lines of an agent: the ones of the protocol are read, everything else is a violation."""

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox_service.domain.errors import AgentViolation
from sandbox_service.domain.lines import parse_line
from sandbox_service.domain.ports import ChangedFile, ExecutionEnd, KernelMessage, MessageGap

MESSAGE: dict[str, Any] = {
    "seq": 1,
    "kind": "message",
    "channel": "iopub",
    "header": {"msg_type": "stream", "msg_id": "x"},
    "parent_header": {},
    "metadata": {},
    "content": {"name": "stdout", "text": "1\n"},
}
GAP: dict[str, Any] = {
    "seq": 7,
    "kind": "gap",
    "reason": "budget",
    "messages": 12,
    "bytes": 48211,
    "msg_type": "stream",
}
END: dict[str, Any] = {
    "seq": 8,
    "kind": "end",
    "reason": "kernel_died",
    "incarnation": 2,
    "exit": {"signal": 9, "code": None},
    "changed": [{"name": "sub/a%20b.csv", "size": 120}],
    "changes_truncated": True,
}


def raw(base: dict[str, Any], **changes: Any) -> bytes:
    return json.dumps({**base, **changes}).encode()


def test_a_message_is_read() -> None:
    """The kernel's own parts, with the type out of the header."""
    content = {"name": "stdout", "text": "1\n"}
    assert parse_line(raw(MESSAGE)) == KernelMessage(1, "iopub", "stream", content)


def test_a_gap_is_read() -> None:
    """Counts and sizes, and the type where there is one."""
    assert parse_line(raw(GAP)) == MessageGap(7, "budget", 12, 48211, "stream")
    assert parse_line(raw(GAP, msg_type=None)) == MessageGap(7, "budget", 12, 48211, "")


def test_an_end_is_read() -> None:
    """Names are decoded; the exit says which signal it was."""
    changed = (ChangedFile("sub/a b.csv", 120),)
    assert parse_line(raw(END)) == ExecutionEnd(8, "kernel_died", 2, 9, None, changed, True)
    finished = {"seq": 2, "kind": "end", "reason": "finished", "incarnation": 1, "exit": None}
    assert parse_line(raw(finished)) == ExecutionEnd(2, "finished", 1)


def test_a_ping_is_nothing() -> None:
    """It only keeps the line warm."""
    assert parse_line(b'{"kind": "ping"}\n') is None


@pytest.mark.parametrize(
    ("sent", "read"),
    [
        (b"[NaN, Infinity, -Infinity, 1.5]", [None, None, None, 1.5]),
        (b"[1e999]", [None]),
        (b'"\\ud800"', "\ufffd"),
        (b'"a\xff"', "a\ufffd"),
        (b"[NaN, %d]" % 2**80, [None, float(2**80)]),
        (b"[NaN, %s]" % (b"9" * 5000), [None, None]),
    ],
)
def test_what_kernels_send_beyond_json_is_made_good(sent: bytes, read: Any) -> None:
    """NaN, broken text and endless numbers in a user's output cost nobody the session."""
    line = parse_line(raw(MESSAGE, content={"x": "@"}).replace(b'"@"', sent))
    assert isinstance(line, KernelMessage)
    assert line.content == {"x": read}


@pytest.mark.parametrize(
    "sent",
    [b"[" * 100_000 + b"]" * 100_000, b"[NaN," + b"[" * 900 + b"]" * 901, b"{", b'"x}', b"\xff"],
)
def test_a_message_that_cannot_be_read_is_a_gap(sent: bytes) -> None:
    """What a program sends past its kernel loses that message, not the session."""
    unreadable = raw(MESSAGE, content="@").replace(b'"@"', sent)
    assert parse_line(unreadable) == MessageGap(1, "unreadable", 1, len(unreadable))


MALFORMED = {
    "empty": b"",
    "no JSON": b"hello",
    "cut off": raw(END)[:-5],
    "a reply that is cut off": raw(MESSAGE, channel="shell")[:-5],
    "seq of an unreadable message is huge": raw(MESSAGE, seq=2**60)[:-5],
    "not an object": b"[]",
    "null": b"null",
    "too deep": b"[" * 100_000,
    "no kind": raw(MESSAGE, kind=None),
    "unknown kind": raw(MESSAGE, kind="exec"),
    "kind is a list": raw(MESSAGE, kind=["message"]),
    "seq is text": raw(MESSAGE, seq="1"),
    "seq is a bool": raw(MESSAGE, seq=True),
    "seq is zero": raw(MESSAGE, seq=0),
    "seq is negative": raw(MESSAGE, seq=-1),
    "seq is a float": raw(MESSAGE, seq=1.0),
    "seq is huge": raw(MESSAGE, seq=2**60),
    "seq is endless": raw(MESSAGE, seq=2**200),
    "no channel": raw(MESSAGE, channel=None),
    "unknown channel": raw(MESSAGE, channel="stdin"),
    "header is text": raw(MESSAGE, header="stream"),
    "no type": raw(MESSAGE, header={}),
    "type is a number": raw(MESSAGE, header={"msg_type": 5}),
    "type is long": raw(MESSAGE, header={"msg_type": "x" * 1000}),
    "content is text": raw(MESSAGE, content="x"),
    "content is missing": raw(MESSAGE, content=None),
    "metadata is a list": raw(MESSAGE, metadata=[]),
    "unknown gap": raw(GAP, reason="mood"),
    "gap of negative size": raw(GAP, bytes=-1),
    "gap without a count": raw(GAP, messages=None),
    "gap type is a number": raw(GAP, msg_type=5),
    "unknown end": raw(END, reason="bored"),
    "incarnation zero": raw(END, incarnation=0),
    "exit is a number": raw(END, exit=9),
    "signal is text": raw(END, exit={"signal": "KILL"}),
    "changes_truncated is a number": raw(END, changes_truncated=1),
    "changed is an object": raw(END, changed={}),
    "changed holds text": raw(END, changed=["a"]),
    "too many changed": raw(END, changed=[{"name": "a", "size": 1}] * 1001),
    "name is missing": raw(END, changed=[{"size": 1}]),
    "name climbs": raw(END, changed=[{"name": "../a", "size": 1}]),
    "name climbs, encoded": raw(END, changed=[{"name": "%2E%2E/a", "size": 1}]),
    "name is absolute": raw(END, changed=[{"name": "/etc/passwd", "size": 1}]),
    "name is not encoded": raw(END, changed=[{"name": "a b", "size": 1}]),
    "size is negative": raw(END, changed=[{"name": "a", "size": -1}]),
    "size is text": raw(END, changed=[{"name": "a", "size": "1"}]),
}


@pytest.mark.parametrize("line", MALFORMED.values(), ids=MALFORMED.keys())
def test_malformed_lines_are_violations(line: bytes) -> None:
    """The sandbox of an agent that speaks so is not trusted further."""
    with pytest.raises(AgentViolation):
        parse_line(line)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=6,
)


@given(
    base=st.sampled_from([MESSAGE, GAP, END]),
    field=st.sampled_from(sorted(MESSAGE | GAP | END)),
    value=json_values,
)
def test_any_field_may_be_anything(base: dict[str, Any], field: str, value: Any) -> None:
    """A line is read or is a violation; nothing else is ever raised."""
    with suppress(AgentViolation):
        parse_line(raw(base, **{field: value}))


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(line: bytes) -> None:
    """Garbage on the line is a violation, never a crash."""
    with suppress(AgentViolation):
        parse_line(line)
