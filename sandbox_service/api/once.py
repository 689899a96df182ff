"""Requests that take effect once: the `Idempotency-Key` header, and the ids that a repeated request finds again."""

import hashlib
import re
from collections.abc import Mapping

from pydantic import BaseModel
from starlette.requests import Request

from sandbox_service.api.endpoint import principal_of
from sandbox_service.domain.errors import Conflict, InvalidRequest
from sandbox_service.domain.ids import new_id
from sandbox_service.domain.stores import OnceEntry, OnceStore

HEADER = "Idempotency-Key"
_SANE_KEY = re.compile(r"[\x21-\x7e]{1,255}")
_NOTHING = OnceEntry("", {})


async def begin_once(
    store: OnceStore, request: Request, body: BaseModel | str, *prefixes: str
) -> OnceEntry:
    """What the request works with: an id per prefix, the same for every request with the same key.

    Without the header there are no ids. Raises InvalidRequest for a key that is none, and Conflict
    `idempotency_key_reused` when the key came with another body or to another place before.
    """
    key = _key(request)
    if key is None:
        return _NOTHING
    fingerprint = _fingerprint(request, body)
    ids: Mapping[str, str] = {prefix: new_id(prefix) for prefix in prefixes}
    entry = await store.begin(principal_of(request).tenant, key, fingerprint, ids)
    if entry.fingerprint != fingerprint:
        raise Conflict(
            f"This {HEADER} came with another request before.",
            code="idempotency_key_reused",
            param=HEADER,
        )
    return entry


async def note_done(store: OnceStore, request: Request) -> None:
    """The request has taken effect: the same key does nothing more."""
    key = _key(request)
    if key is not None:
        await store.done(principal_of(request).tenant, key)


def _key(request: Request) -> str | None:
    key = request.headers.get(HEADER)
    if key is not None and not _SANE_KEY.fullmatch(key):
        raise InvalidRequest(
            f"{HEADER} must be 1 to 255 printable ASCII characters without spaces.", param=HEADER
        )
    return key


def _fingerprint(request: Request, body: BaseModel | str) -> str:
    text = body if isinstance(body, str) else body.model_dump_json()
    whole = f"{request.method} {request.url.path}\n{text}"
    return hashlib.sha256(whole.encode("utf-8", "surrogatepass")).hexdigest()
