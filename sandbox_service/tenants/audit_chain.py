"""The audit log's lines: numbered, each with the hash of itself and of the line before. Pure.

    {"seq":2,"at":"...","event":"...",...,"prev":"<hash of line 1>","hash":"<hash of this line>"}

`hash` is SHA-256 over the line's bytes up to `,"hash"`, which hold `prev`; so a line that is changed,
left out or put elsewhere breaks the chain. Lines cut off the end show only against a head noted elsewhere.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from sandbox_service.domain.json_values import clean_json

_TAIL = re.compile(rb',"hash":"([0-9a-f]{64})"}\n')
_TAIL_BYTES = len(b',"hash":""}\n') + 64


@dataclass(frozen=True, slots=True)
class Head:
    """The last line of a chain so far."""

    seq: int = 0
    hash: str = "0" * 64

    def __str__(self) -> str:
        return f"{self.seq}:{self.hash}"


class BrokenChain(Exception):
    """A line that does not belong where it is; the message says why."""


@dataclass(frozen=True, slots=True)
class Link:
    """One line of the chain, and the head after it."""

    line: bytes
    head: Head


def link_event(event: Mapping[str, Any], head: Head) -> Link:
    """The next line after `head`, for an event of JSON values."""
    body = _dumps({"seq": head.seq + 1, **event, "prev": head.hash})[:-1]
    digest = hashlib.sha256(body).hexdigest()
    return Link(b'%s,"hash":"%s"}\n' % (body, digest.encode()), Head(head.seq + 1, digest))


def _dumps(entry: Mapping[str, Any]) -> bytes:
    try:
        return orjson.dumps(entry)
    except TypeError:
        return orjson.dumps(clean_json(dict(entry)))


def check_line(line: bytes, before: Head | None) -> Head:
    """The head after `line`; `before` None takes any first line. Raises BrokenChain."""
    tail = _TAIL.fullmatch(line[-_TAIL_BYTES:])
    if tail is None:
        raise BrokenChain("it is not a whole line of this log")
    body = line[:-_TAIL_BYTES]
    digest = hashlib.sha256(body).hexdigest()
    if digest != tail[1].decode():
        raise BrokenChain("its content was changed: the hash does not match")
    return _follow(body, digest, before)


def _follow(body: bytes, digest: str, before: Head | None) -> Head:
    try:
        entry = orjson.loads(body + b"}")
        seq, prev = int(entry["seq"]), str(entry["prev"])
    except (ValueError, KeyError, TypeError) as error:
        raise BrokenChain("it holds no number and previous hash") from error
    if before is not None and seq != before.seq + 1:
        raise BrokenChain(f"it has number {seq} where {before.seq + 1} should be")
    if before is not None and prev != before.hash:
        raise BrokenChain("the line before it is another one than when it was written")
    return Head(seq, digest)
