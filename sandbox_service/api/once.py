"""Requests that take effect once: the `Idempotency-Key` header, and the ids that a repeated request finds again."""

import hashlib
import logging
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from pydantic import BaseModel
from starlette.requests import Request

from sandbox_service.api.endpoint import principal_of
from sandbox_service.domain.errors import (
    Conflict,
    InvalidRequest,
    LeaseLost,
    NotFound,
    PermissionDenied,
    RateLimited,
    ServiceError,
    SessionGone,
    WorkspaceFull,
)
from sandbox_service.domain.ids import new_id
from sandbox_service.domain.stores import OnceEntry, OnceStore

logger = logging.getLogger(__name__)

HEADER = "Idempotency-Key"
_SANE_KEY = re.compile(r"[\x21-\x7e]{1,255}")
_NOTHING = OnceEntry("", {})


# Refused as it was asked: nothing has taken effect, and the mended request may come under the same key.
_REFUSALS = (
    InvalidRequest,
    PermissionDenied,
    NotFound,
    Conflict,
    SessionGone,
    RateLimited,
    WorkspaceFull,
)


def is_refusal(error: ServiceError) -> bool:
    """Whether the caller was told no, other than because we failed or another replica goes on with it."""
    return isinstance(error, _REFUSALS) and not isinstance(error, LeaseLost)


@asynccontextmanager
async def begun_once(
    store: OnceStore, request: Request, body: BaseModel | str, *prefixes: str
) -> AsyncIterator[OnceEntry]:
    """What the request works with: an id per prefix, the same for every request with the same key.

    Without the header there are no ids. What is refused in the block gives its key back. Raises
    InvalidRequest for a key that is none, and Conflict `idempotency_key_reused` when the key came with
    another body or to another place before.
    """
    key = _key(request)
    if key is None:
        yield _NOTHING
        return
    tenant, fingerprint = principal_of(request).tenant, _fingerprint(request, body)
    ids: Mapping[str, str] = {prefix: new_id(prefix) for prefix in prefixes}
    entry = await store.begin(tenant, key, fingerprint, ids)
    if entry.fingerprint != fingerprint:
        raise _reused()
    try:
        yield entry
    except ServiceError as error:
        if is_refusal(error):
            await _give_back(store, tenant, key, entry)
        raise


async def _give_back(store: OnceStore, tenant: str, key: str, entry: OnceEntry) -> None:
    try:
        await store.give_back(tenant, key, entry)
    except ServiceError as error:  # what was refused is still what the caller must be told
        logger.warning("idempotency_key_not_given_back code=%s", error.code)


async def note_done(store: OnceStore, request: Request, content: str = "") -> None:
    """The request has taken effect: the same key does nothing more."""
    key = _key(request)
    if key is not None:
        await store.done(principal_of(request).tenant, key, content)


def require_same_content(entry: OnceEntry, content: str) -> None:
    """For an upload that was made before. Raises Conflict when it was one of other bytes."""
    if entry.content not in ("", content):
        raise _reused()


class ContentDigest:
    """The digest of files as they stream by: of their paths and bytes, not of how a form divides them."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()

    async def over(self, path: str, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """The same chunks, counted to their end."""
        content = hashlib.sha256()
        async for chunk in chunks:
            content.update(chunk)
            yield chunk
        name = path.encode("utf-8", "surrogateescape")
        self._digest.update(hashlib.sha256(name).digest() + content.digest())

    @property
    def text(self) -> str:
        return self._digest.hexdigest()


def _reused() -> Conflict:
    return Conflict(
        f"This {HEADER} came with another request before.",
        code="idempotency_key_reused",
        param=HEADER,
    )


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
