"""Long JSON, made piece by piece as the caller takes it: others get their turn in between."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from starlette.responses import Response

from sandbox_service.api.answers import dumps
from sandbox_service.api.streams import Download, Pace
from sandbox_service.domain.ports import FileStream

PIECE_BYTES = 64 * 1024
_UNKNOWN_SIZE = -1


def flowing_json(
    frame: Mapping[str, Any],
    name: str,
    items: Iterable[Any],
    pace: Pace,
    *,
    media_type: str = "application/json",
    headers: Mapping[str, str] | None = None,
) -> Response:
    """The object `frame` with one more member, a list under `name`. Each item is made when it is due."""
    source = _open(_pieces(frame, name, items))
    return Download(source, dict(headers or {}), pace, media_type)


def _pieces(frame: Mapping[str, Any], name: str, items: Iterable[Any]) -> Iterator[bytes]:
    yield dumps(frame)[:-1] + b"," + dumps(name) + b":["
    for number, item in enumerate(items):
        yield (b"," if number else b"") + dumps(item)
    yield b"]}"


@asynccontextmanager
async def _open(pieces: Iterator[bytes]) -> AsyncIterator[FileStream]:
    yield FileStream(_UNKNOWN_SIZE, _in_turns(pieces))


async def _in_turns(pieces: Iterator[bytes]) -> AsyncIterator[bytes]:
    """Small pieces together, large ones alone; a turn of the loop after each."""
    waiting: list[bytes] = []
    size = 0
    for piece in pieces:
        waiting.append(piece)
        size += len(piece)
        if size >= PIECE_BYTES:
            yield b"".join(waiting)
            await asyncio.sleep(0)
            waiting, size = [], 0
    yield b"".join(waiting)
