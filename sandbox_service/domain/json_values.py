"""JSON made by strangers, turned into values that every encoder accepts."""

import math
from typing import Any

import orjson

MAX_DEPTH = 64
_MAX_INT = 2**64 - 1
_MIN_INT = -(2**63)

# Those that JSON does not escape by itself. In UTF-8 none of them can be a part of another character.
_LINE_BREAKS = {one.encode(): rb"\u%04x" % ord(one) for one in "\x85\u2028\u2029"}


class RawJson:
    """A JSON value that nobody here needs to look into: its text, known to be valid, on one line."""

    __slots__ = ("raw",)

    def __init__(self, raw: bytes) -> None:
        self.raw = raw

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RawJson) and other.raw == self.raw

    def __hash__(self) -> int:
        return hash(self.raw)

    def __repr__(self) -> str:
        return f"RawJson({len(self.raw)} bytes)"


def embedded(value: object) -> orjson.Fragment:
    """For the JSON encoder: a RawJson as the value that it is."""
    if isinstance(value, RawJson):
        return orjson.Fragment(value.raw)
    raise TypeError(f"{type(value).__name__} has no JSON form")


def clean_json(value: object, max_depth: int = MAX_DEPTH) -> Any:
    """An equal value of dicts with str keys, lists, str, finite numbers, bools and None.

    NaN and infinities become None, integers beyond 64 bits floats, lone surrogates U+FFFD; members
    that have no JSON form become None, keys that are not str are dropped.
    Raises ValueError when containers nest deeper than `max_depth`.
    """
    if _is_deeper(value, max_depth):
        raise ValueError(f"JSON nests deeper than {max_depth} levels")
    try:
        return orjson.loads(orjson.dumps(value))
    except (TypeError, ValueError):
        return _rebuilt(value)


def clean_text(text: str) -> str:
    """`text` with surrogate pairs joined and lone surrogates as U+FFFD."""
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def _is_deeper(value: object, max_depth: int) -> bool:
    level = [value] if isinstance(value, dict | list) else []
    for _ in range(max_depth):
        if not level:
            return False
        level = [
            member
            for container in level
            for member in (container.values() if isinstance(container, dict) else container)
            if isinstance(member, dict | list)
        ]
    return bool(level)


def _rebuilt(value: object) -> Any:
    if isinstance(value, dict):
        return {clean_text(k): _rebuilt(v) for k, v in value.items() if isinstance(k, str)}
    if isinstance(value, list):
        return [_rebuilt(member) for member in value]
    if isinstance(value, str):
        return clean_text(value)
    return _clean_scalar(value)


def _clean_scalar(value: object) -> bool | int | float | None:
    if isinstance(value, bool):
        return value
    if isinstance(value, int):
        return value if _MIN_INT <= value <= _MAX_INT else _finite(value)
    return _finite(value) if isinstance(value, float) else None


def _finite(number: float) -> float | None:
    try:
        as_float = float(number)
    except OverflowError:
        return None
    return as_float if math.isfinite(as_float) else None


def escaped_line_breaks(text: bytes) -> bytes:
    """The same JSON for who splits lines as Unicode does, Python's `splitlines` among them."""
    for character, escape in _LINE_BREAKS.items():
        text = text.replace(character, escape)
    return text
