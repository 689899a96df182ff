"""JSON text looked through in bounded steps: checked in full, with no value made of it that is kept.

Each function is a generator: it yields after about STEP_BYTES, so that an event loop can let others run,
and returns its result. All raise Unreadable for what is not JSON.
"""

import gc
import re
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import TypeVar

import orjson

T = TypeVar("T")
Steps = Generator[None, None, T]

STEP_BYTES = 16 * 1024
DEEPEST = 256

_STRING = rb'"(?:[^"\\]++|\\.)*+"'
_STRINGS = re.compile(_STRING, re.DOTALL)
_WHOLE_TOKENS = re.compile(rb'(?:[^"]++|%b)*+' % _STRING, re.DOTALL)
_TO_BRACKET = re.compile(rb'(?:[^"\[\]{}]++|%b)*+' % _STRING, re.DOTALL)
_NO_BRACKETS = bytes(sign for sign in range(256) if sign not in b"[]{}")
# Up to a place where a string can be cut in two, each half a string of its own.
_STRING_PART = re.compile(
    rb"(?:[\x20\x21\x23-\x5b\x5d-\x7f]++|[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}"
    rb"|[\xf0-\xf4][\x80-\xbf]{3}|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
    rb"|\\u(?![dD][89abAB])[0-9a-fA-F]{4}|\\[^u])*+",
    re.DOTALL,
)
_KEY = re.compile(rb'\s*+("(?:[^"\\]|\\.){0,300}+")\s*+:\s*+', re.DOTALL)
_AFTER_MEMBER = re.compile(rb"\s*+([,}])")
_COLON = re.compile(rb"\s*+:")
_SCALAR = re.compile(rb"[-+.0-9a-zA-Z]{1,400}+")
_SPACE = re.compile(rb"\s*+")
_WITHIN_TOKENS = b"0123456789+-.eEtrufalsn \t\r\n"
_CLOSING = {ord("["): ord("]"), ord("{"): ord("}")}
_OBJECT = ord("{")


class Unreadable(ValueError):
    """Not JSON, or too deep, or with too many members where there should be few."""


@dataclass(frozen=True, slots=True)
class Span:
    """Where a value is in the text; of an object that was looked into, its members too."""

    start: int
    end: int
    members: Mapping[str, "Span"] | None = None


Shape = Mapping[str, "Shape"]
"""The members of an object that are to be looked into, and what in them."""


def members(raw: bytes, start: int, most: int, shape: Shape) -> Steps[Span]:
    """The object at `start` with its members; more than `most` in one are Unreadable."""
    found: dict[str, Span] = {}
    _expect(raw[start : start + 1] == b"{")
    at = _SPACE.match(raw, start + 1).end()  # type: ignore[union-attr]
    if raw[at : at + 1] == b"}":
        return Span(start, at + 1, found)
    for _ in range(most):
        key = _matched(_KEY, raw, at)
        name = _loads(key[1])
        if name in shape and raw[key.end() : key.end() + 1] == b"{":
            found[name] = yield from members(raw, key.end(), most, shape[name])
        else:
            found[name] = yield from value(raw, key.end())
        after = _matched(_AFTER_MEMBER, raw, found[name].end)
        at = after.end()
        if after[1] == b"}":
            return Span(start, at, found)
    raise Unreadable(f"more than {most} members")


def value(raw: bytes, start: int, step_bytes: int = STEP_BYTES) -> Steps[Span]:
    """Where the value at `start` ends."""
    match raw[start : start + 1]:
        case b'"':
            return Span(start, (yield from _string_end(raw, start, step_bytes)))
        case b"[" | b"{":
            return (yield from _Container(raw, start, step_bytes).walk())
    scalar = _matched(_SCALAR, raw, start)
    _loads(scalar[0])
    return Span(start, scalar.end())


def text(raw: bytes, start: int) -> Steps[str]:
    """The string at `start`."""
    parts: list[str] = []
    yield from _string_end(raw, start, STEP_BYTES, parts)
    return "".join(parts)


def _string_end(
    raw: bytes, start: int, step_bytes: int, parts: list[str] | None = None
) -> Steps[int]:
    at = start + 1
    while True:
        end = _STRING_PART.match(raw, at, at + step_bytes).end()  # type: ignore[union-attr]
        part = _loads(b'"%b"' % raw[at:end])
        if parts is not None:
            parts.append(part)
        if raw[end : end + 1] == b'"':
            return end + 1
        _expect(end > at)
        at = end
        yield


class _Container:
    """A list or an object on the way to its end.

    It is checked piece by piece: what is open where a piece begins is put before it, what is open where it
    ends is closed behind it, and a parser reads the whole.
    """

    def __init__(self, raw: bytes, start: int, step_bytes: int) -> None:
        self._raw = raw
        self._step_bytes = step_bytes
        self._start = start
        self._at = start + 1
        self._stack = bytearray(raw[start : start + 1])
        self._checked = start + 1
        self._before = self._prefix(b"[")

    def walk(self) -> Steps[Span]:
        while not (yield from self._step()):
            self._check_up_to(self._cut())
        self._check(self._at, b"")
        return Span(self._start, self._at)

    def _step(self) -> Steps[bool]:
        """Go on for about STEP_BYTES; True at the end of the container."""
        end = _WHOLE_TOKENS.match(self._raw, self._at, self._at + self._step_bytes).end()  # type: ignore[union-attr]
        if end == self._at:
            _expect(self._raw[end : end + 1] == b'"')
            yield from self._long_string()
            return False
        outside = _STRINGS.sub(b"", self._raw[self._at : end])
        left = self._without_pairs(outside.translate(None, _NO_BRACKETS))
        if len(left) - len(left.lstrip(b"]}")) >= len(self._stack):
            self._walk_to_end()
            return True
        for sign in left:
            self._bracket(sign)
        self._at = end
        yield
        return False

    def _without_pairs(self, brackets: bytes) -> bytes:
        """The brackets whose partners are elsewhere."""
        for _ in range(DEEPEST):
            fewer = brackets.replace(b"[]", b"").replace(b"{}", b"")
            if len(fewer) == len(brackets):
                return fewer
            brackets = fewer
        raise Unreadable("too deep")

    def _walk_to_end(self) -> None:
        """Bracket by bracket, in the one step that holds the end."""
        while self._stack:
            self._at = _TO_BRACKET.match(self._raw, self._at).end()  # type: ignore[union-attr]
            self._bracket(self._raw[self._at])
            self._at += 1

    def _bracket(self, sign: int) -> None:
        if sign in _CLOSING:
            self._stack.append(sign)
            _expect(len(self._stack) <= DEEPEST)
        else:
            _expect(_CLOSING[self._stack.pop()] == sign)

    def _cut(self) -> int:
        """The last place up to here at which no token is under way."""
        piece = self._raw[self._checked : self._at].rstrip(_WITHIN_TOKENS)
        cut = self._checked + len(piece)
        colon = _COLON.match(self._raw, cut) if piece.endswith(b'"') else None
        self._at = max(self._at, colon.end()) if colon else self._at
        return colon.end() if colon else cut

    def _check_up_to(self, cut: int) -> None:
        if cut == self._checked:
            _expect(self._at - cut < self._step_bytes)
            return
        last = self._raw[cut - 1 : cut]
        self._check(cut, self._suffix(last))
        self._before = self._prefix(last)

    def _check(self, cut: int, suffix: bytes) -> None:
        _loads(b"%b%b%b" % (self._before, self._raw[self._checked : cut], suffix))
        self._checked = cut

    def _long_string(self) -> Steps[None]:
        """One that is longer than a step, checked by itself; an empty one stands for it in the frame."""
        self._check_up_to(self._cut())
        _expect(not self._raw[self._checked : self._at].strip())
        end = yield from _string_end(self._raw, self._at, self._step_bytes)
        colon = _COLON.match(self._raw, end)
        last = b":" if colon else b'"'
        _loads(self._before + (b'"":' if colon else b'""') + self._suffix(last))
        self._at = self._checked = colon.end() if colon else end
        self._before = self._prefix(last)

    def _prefix(self, last: bytes) -> bytes:
        """What is open, with as much before the next token as `last` says there was."""
        opened = b""
        for at, sign in enumerate(self._stack):
            is_member = at > 0 and self._stack[at - 1] == _OBJECT
            opened += (b'"":%c' if is_member else b"%c") % sign
        if last in b"[{":
            return opened
        if last == b":":
            return opened + b'"":'
        return opened + self._one() + (b"," if last == b"," else b"")

    def _suffix(self, last: bytes) -> bytes:
        """What makes a whole of text that ends with `last`."""
        missing = {b",": self._one(), b":": b"0"}.get(last, b"")
        return missing + bytes(_CLOSING[sign] for sign in reversed(self._stack))

    def _one(self) -> bytes:
        return b'"":0' if self._stack and self._stack[-1] == _OBJECT else b"0"


def _loads(raw: bytes) -> str:
    collects = gc.isenabled()
    gc.disable()  # lists that are gone at once would have it look through everything there is
    try:
        return orjson.loads(raw)  # type: ignore[no-any-return]
    except orjson.JSONDecodeError:
        raise Unreadable("not JSON") from None
    finally:
        if collects:
            gc.enable()


def _matched(pattern: re.Pattern[bytes], raw: bytes, at: int) -> re.Match[bytes]:
    match = pattern.match(raw, at)
    if match is None:
        raise Unreadable("not JSON")
    return match


def _expect(condition: bool) -> None:
    if not condition:
        raise Unreadable("not JSON, or too deep")
