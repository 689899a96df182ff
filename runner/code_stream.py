"""The code inside a tool call's arguments, while they are still arriving. Pure."""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from runner.reply import ToolCall

_OPENING = re.compile(r'\s*\{\s*"code"\s*:\s*"')
_SINGLE = re.compile(r"\\u((?![dD][89a-fA-F])[0-9a-fA-F]{4})")
_FIRST_HALF = re.compile(r"\\u[dD][89abAB][0-9a-fA-F]{2}")
_PAIR = re.compile(_FIRST_HALF.pattern + r"\\u[dD][c-fC-F][0-9a-fA-F]{2}")
_PLAIN = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f"}


@dataclass(frozen=True, slots=True)
class CodePiece:
    """New code of the reply's `call`-th call."""

    call: int
    text: str


@dataclass(slots=True)
class CodeStreams:
    """Follows the calls of one reply."""

    _decoders: list["_Decoder"] = field(default_factory=list)

    def news(self, calls: Sequence[ToolCall]) -> Iterator[CodePiece]:
        """What of the calls' code is new since the last look."""
        while len(self._decoders) < len(calls):
            self._decoders.append(_Decoder())
        for number, call in enumerate(calls):
            if text := self._decoders[number].read(call.arguments):
                yield CodePiece(number, text)


class _Decoder:
    """Decodes one JSON string as it grows; stops at its end."""

    def __init__(self) -> None:
        self._position = -1

    def read(self, arguments: str) -> str:
        """The characters that have become certain since the last call."""
        if self._position < 0:
            opening = _OPENING.match(arguments)
            if opening is None:
                return ""
            self._position = opening.end()
        text = ""
        while step := _character(arguments, self._position):
            text += step.text
            self._position += step.length
        return text


@dataclass(frozen=True, slots=True)
class _Step:
    text: str
    length: int


def _character(arguments: str, position: int) -> _Step | None:
    """The character at a position; None at the string's end, or while an escape is incomplete."""
    first = arguments[position : position + 1]
    if first in ("", '"'):
        return None
    if first != "\\":
        return _Step(first, 1)
    escape = arguments[position + 1 : position + 2]
    if not escape:
        return None
    if escape != "u":
        return _Step(_PLAIN.get(escape, escape), 2)
    return _unicode(arguments, position)


def _unicode(arguments: str, position: int) -> _Step | None:
    """An escaped code point; two escapes where it takes a pair."""
    if pair := _PAIR.match(arguments, position):
        return _Step(str(json.loads(f'"{pair[0]}"')), 12)
    rest = arguments[position + 6 : position + 12]
    is_first_half = _FIRST_HALF.match(arguments, position)
    if len(arguments) < position + 6 or (is_first_half and _may_become_escape(rest)):
        return None
    if (single := _SINGLE.match(arguments, position)) and not is_first_half:
        return _Step(chr(int(single[1], 16)), 6)
    return _Step("�", 6)


def _may_become_escape(rest: str) -> bool:
    """Whether an escape begins here that has not arrived as a whole."""
    return len(rest) < 6 and "\\u".startswith(rest[:2])
