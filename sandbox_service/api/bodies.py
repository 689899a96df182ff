"""What comes in: bodies read up to a limit and no further, queries, and paths as they were sent."""

import asyncio
from collections.abc import AsyncIterator
from typing import TypeVar
from urllib.parse import unquote_to_bytes

from pydantic import BaseModel, ValidationError
from starlette.requests import Request
from starlette.types import Scope

from sandbox_service.api.errors import BodyStalled, invalid
from sandbox_service.domain.errors import InvalidRequest, NotFound, TooLarge
from sandbox_service.domain.names import clean_path

KIB = 1024
SMALL_BODY_BYTES = 64 * KIB
STALL_S = 60.0
MOST_VALUES = 1000
"""Of one JSON body; ours have some dozen."""
MOST_PARAMETERS = 100
"""Of one query."""

Model = TypeVar("Model", bound=BaseModel)


async def read_model(
    request: Request, model: type[Model], max_bytes: int = SMALL_BODY_BYTES
) -> Model:
    """The JSON body as `model`. Raises InvalidRequest that names the field, or TooLarge.

    An empty body is an empty object.
    """
    body = await read_body(request, max_bytes)
    check_values(body, MOST_VALUES)
    try:
        return model.model_validate_json(body or b"{}")
    except ValidationError as error:
        raise invalid(error) from None


def check_values(body: bytes, most: int) -> None:
    """Raises InvalidRequest when there is more JSON than `most` values in the body, before any is made.

    What stands in strings does not count.
    """
    if _values_in(body) <= most:
        return
    quoted = body.replace(b"\\\\", b"").replace(b'\\"', b"").split(b'"', 4 * most)
    if len(quoted) > 4 * most or _values_in(b"".join(quoted[::2])) > most:
        raise InvalidRequest(f"The body holds more than {most} values.", param="body")


def _values_in(text: bytes) -> int:
    return len(text) - len(text.translate(None, b",[{"))


async def read_body(request: Request, max_bytes: int) -> bytes:
    return b"".join([chunk async for chunk in limited(request, max_bytes)])


async def limited(request: Request, max_bytes: int) -> AsyncIterator[bytes]:
    """The body's chunks. Raises TooLarge on the announced length, else where it is passed."""
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > max_bytes:
        raise _too_large(max_bytes)
    received = 0
    async for chunk in _flowing(request):
        received += len(chunk)
        if received > max_bytes:
            raise _too_large(max_bytes)
        if chunk:
            yield chunk


async def _flowing(request: Request) -> AsyncIterator[bytes]:
    """The chunks as they come. Raises BodyStalled when none comes for too long."""
    chunks = request.stream()
    while True:
        try:
            async with asyncio.timeout(STALL_S):
                chunk = await anext(chunks)
        except StopAsyncIteration:
            return
        except TimeoutError:
            raise BodyStalled(f"Nothing more of the body came for {STALL_S:g} s.") from None
        yield chunk


def _too_large(max_bytes: int) -> TooLarge:
    return TooLarge(f"The body is larger than the limit of {max_bytes} bytes.", param="body")


def read_query(request: Request, model: type[Model]) -> Model:
    """The query as `model`; parameters that it does not know are ignored."""
    check_query(request.scope)
    try:
        return model.model_validate(dict(request.query_params))
    except ValidationError as error:
        raise invalid(error) from None


def check_query(scope: Scope) -> None:
    """Raises InvalidRequest for more parameters than anybody needs."""
    if scope["query_string"].count(b"&") >= MOST_PARAMETERS:
        raise InvalidRequest(f"A query may have {MOST_PARAMETERS} parameters.", param="query")


def workspace_path(request: Request) -> str:
    """The file path of the URL as it was sent: nothing is normalised before it is judged.

    Raises InvalidRequest for a path that is empty, absolute or climbs out of the workspace.
    """
    raw: bytes = request.scope.get("raw_path") or request.scope["path"].encode()
    _, found, tail = raw.partition(b"/files/")
    if not found:
        raise NotFound("There is no such route.", code="route_not_found")
    return clean_path(unquote_to_bytes(tail).decode("utf-8", "surrogateescape"))


def last_event_id(request: Request, default: int) -> int:
    """The id after which a stream goes on. Raises InvalidRequest unless it is a number."""
    header = request.headers.get("last-event-id")
    if header is None:
        return default
    if not (header.isascii() and header.isdecimal() and len(header) <= 15):
        raise InvalidRequest("Last-Event-ID must be the id of an event.", param="Last-Event-ID")
    return int(header)
