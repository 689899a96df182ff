"""JSON is looked through in steps: whatever the steps, it is judged as a parser judges it."""

import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox_service.domain import json_scan
from sandbox_service.domain.json_scan import Unreadable, members, text, value

values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.text(max_size=60),
    lambda inner: (
        st.lists(inner, max_size=6) | st.dictionaries(st.text(max_size=9), inner, max_size=6)
    ),
    max_leaves=40,
)


def result(steps: Any) -> Any:
    while True:
        try:
            next(steps)
        except StopIteration as ended:
            return ended.value


def is_json(raw: bytes) -> bool:
    try:
        orjson.loads(raw)
    except orjson.JSONDecodeError:
        return False
    return True


def is_read(raw: bytes, step_bytes: int) -> bool:
    try:
        end = result(value(raw, 0, step_bytes)).end
    except Unreadable:
        return False
    assert is_json(raw[:end]), "what was let through is not JSON"
    return end == len(raw)


@given(made=values, step=st.integers(70, 300), is_ascii=st.booleans())
def test_what_is_json_is_read_whatever_the_steps(made: Any, step: int, is_ascii: bool) -> None:
    raw = json.dumps([made], ensure_ascii=is_ascii).encode("utf-8", "replace")
    assert is_read(raw, step) is is_json(raw)


@given(made=values, step=st.integers(70, 300), data=st.data())
def test_what_is_nearly_json_is_not(made: Any, step: int, data: st.DataObject) -> None:
    raw = bytearray(json.dumps([made]).encode())
    at = data.draw(st.integers(0, len(raw) - 1))
    raw[at : at + data.draw(st.integers(0, 1))] = data.draw(
        st.sampled_from([b"", b"[", b"]", b"{", b"}", b",", b":", b'"', b"\\", b"0", b"\xff", b" "])
    )
    raw[:1] = b"["
    assert is_read(bytes(raw), step) is is_json(bytes(raw))


@pytest.mark.parametrize(
    "raw",
    [
        b"[" + b",".join([b"[]"] * 300_000) + b"]",
        b"[" + b",".join([b"[" * 60 + b"]" * 60] * 5_000) + b"]",
        b'["' + b"\\n" * 300_000 + b'"]',
        b'{"' + b"a" * 250 + b'":"' + "\u00e9".encode() * 300_000 + b'"}',
    ],
    ids=["empty lists", "deep lists", "escapes", "letters"],
)
def test_no_step_looks_at_more_than_a_piece(raw: bytes) -> None:
    assert sum(1 for _ in value(raw, 0)) >= len(raw) // json_scan.STEP_BYTES - 1
    assert is_read(raw, json_scan.STEP_BYTES)


@pytest.mark.parametrize(
    "raw",
    [
        b"[" * 1_000_000,
        b"[" * 30_000 + b"]" * 30_000,
        b'{"a":' * 300_000,
        b"{" + b",".join(b'"a%d":1' % n for n in range(65)) + b"}",
        b"1" * 1_000_000,
        b"[" + b" " * 1_000_000,
        b'{"' + b"k" * 1_000_000 + b'":1}',
        b'"' + b"x" * 1_000_000,
    ],
)
def test_what_has_no_end_or_no_bottom_is_refused(raw: bytes) -> None:
    with pytest.raises(Unreadable):
        result(members(raw, 0, 64, {}) if raw[:1] == b"{" else value(raw, 0))


def test_the_members_that_are_asked_for_are_found() -> None:
    raw = b'{"a": 1, "b": {"c": "x\\ny", "d": [1, {}]}, "e": {}}'
    found = result(members(raw, 0, 9, {"b": {}, "e": {}})).members
    inner = found["b"].members
    assert result(text(raw, inner["c"].start)) == "x\ny"
    assert raw[inner["d"].start : inner["d"].end] == b"[1, {}]"
    assert (list(found), found["e"].members) == (["a", "b", "e"], {})
