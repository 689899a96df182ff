"""Identifiers: a prefix that says what is named, then 24 characters that sort by time."""

import os
import re
import time

_ALPHABET = "0123456789abcdefghijklmnopqrstuv"
_TIME_CHARS = 9
_RANDOM_CHARS = 15
_BODY = re.compile(rf"[0-9a-v]{{{_TIME_CHARS + _RANDOM_CHARS}}}")


def new_id(prefix: str) -> str:
    """A fresh id such as `sess_06c3...`: milliseconds since 1970 (45 bits), then 75 random bits.

    The characters are lowercase base32hex, so that ids sort by the time they were made.
    """
    milliseconds = (time.time_ns() // 1_000_000) % (1 << 5 * _TIME_CHARS)
    random = int.from_bytes(os.urandom(10))
    return f"{prefix}_{_base32(milliseconds, _TIME_CHARS)}{_base32(random, _RANDOM_CHARS)}"


def looks_like(prefix: str, text: str) -> bool:
    """True when `text` could have been made by `new_id(prefix)`."""
    head, separator, body = text.partition("_")
    return head == prefix and bool(separator) and _BODY.fullmatch(body) is not None


def _base32(number: int, length: int) -> str:
    return "".join(_ALPHABET[number >> 5 * place & 31] for place in reversed(range(length)))
