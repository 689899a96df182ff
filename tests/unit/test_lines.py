"""Lines of an agent: the ones of the protocol are read, everything else is a violation."""

import asyncio
import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox_service.domain.errors import AgentViolation
from sandbox_service.domain.json_scan import STEP_BYTES
from sandbox_service.domain.json_values import RawJson
from sandbox_service.domain.lines import parse_line, read_line
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


def dense(**content: bytes) -> bytes:
    """A display message as the agent passes it on, with these members of its content."""
    parts = b",".join(b'"%b":%b' % (name.encode(), value) for name, value in content.items())
    line = {**MESSAGE, "header": {"msg_type": "display_data"}, "content": {}}
    return json.dumps(line).encode().replace(b'"content": {}', b'"content": {%b}' % parts)


LISTS = b"[" + b",".join([b"[]"] * 100_000) + b"]"


async def test_a_bundle_of_very_many_values_stays_text() -> None:
    raw = dense(
        data=b'{"application/json": %b, "text/plain": "a\\u00e9"}' % LISTS.replace(b",", b"\r,"),
        metadata=LISTS.replace(b"[[", b'{"a":[[').replace(b"]]", b"]]}"),
        transient=b'{"display_id": "d"}',
        other=LISTS,
    )
    line = await read_line(raw)
    assert isinstance(line, KernelMessage)
    assert line.content["data"]["application/json"] == RawJson(LISTS.replace(b",", b" ,"))
    assert line.content["data"]["text/plain"] == "a\u00e9"
    assert isinstance(line.content["metadata"], RawJson)
    assert line.content["transient"] == {"display_id": "d"}


async def test_long_text_of_many_commas_is_read_as_it_is() -> None:
    printed = "1,2,[3],\u00e9\U0001f600\n" * 20_000
    line = {**MESSAGE, "content": {"name": "stdout", "text": printed}}
    for raw in (json.dumps(line), json.dumps(line, ensure_ascii=False)):
        read = await read_line(raw.encode())
        assert isinstance(read, KernelMessage)
        assert read == parse_line(raw.encode())


@pytest.mark.parametrize(
    "data",
    [LISTS[:-1] + b",]", LISTS[:-1], b"{" + b'"a":1,' * 30_000 + b'"b":1}', b'{"a":' * 30_000],
)
async def test_a_bundle_that_is_not_json_is_a_gap(data: bytes) -> None:
    line = await read_line(dense(data=data if data[:1] == b"{" else b'{"a/json": %b}' % data))
    assert isinstance(line, MessageGap)
    assert line.reason == "unreadable"


async def test_others_get_their_turn_while_a_large_bundle_is_checked() -> None:
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    beside = asyncio.create_task(other())
    raw = dense(data=b'{"application/json": %b}' % LISTS)
    await read_line(raw)
    beside.cancel()
    assert turns >= len(raw) // STEP_BYTES
