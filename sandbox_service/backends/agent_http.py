"""HTTP to one agent: connections kept, answers bounded, failures translated in one place."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Annotated, TypeVar
from weakref import WeakSet

import aiohttp
from pydantic import BaseModel, Field, ValidationError
from yarl import URL

from sandbox_service.backends.agent_patience import AgentWaits, Patience
from sandbox_service.domain.errors import (
    AgentViolation,
    InvalidRequest,
    NotFound,
    SandboxLost,
    ServiceError,
    WorkspaceFull,
)
from sandbox_service.domain.values import MIB

CONNECT_S = 2.0
SHORT_S = 10.0
ERROR_MAX_BYTES = 64 * 1024
JSON_MAX_BYTES = 4 * MIB
CONNECTIONS = 64
# A listing of 10,000 files has 50,003; names have no such signs, nor quotes, in them.
MOST_VALUES = 60_000

Answer = TypeVar("Answer", bound=BaseModel)
Count = Annotated[int, Field(ge=0, le=2**53)]
"""A number from an agent: JSON has room for some with thousands of digits, and we have not."""
Body = bytes | AsyncIterator[bytes] | None


def within(seconds: float) -> aiohttp.ClientTimeout:
    """The deadlines of a call whose whole answer is due after `seconds`."""
    return aiohttp.ClientTimeout(total=seconds, sock_connect=CONNECT_S)


@contextmanager
def line_errors() -> Iterator[None]:
    """Turn what the HTTP library raises into SandboxLost (the line broke) or AgentViolation."""
    try:
        yield
    except aiohttp.ClientResponseError as error:
        raise AgentViolation("The sandbox's agent did not answer in HTTP.") from error
    except (aiohttp.ClientError, OSError) as error:  # TimeoutError is an OSError
        raise SandboxLost(f"The line to the sandbox broke ({type(error).__name__}).") from error
    except ValueError as error:
        raise AgentViolation("The sandbox's agent did not answer in HTTP.") from error


class AgentHttp:
    """Requests over one connection pool; opened inside a running event loop."""

    def __init__(
        self, connector: aiohttp.BaseConnector, origin: str, token: str | None, waits: AgentWaits
    ) -> None:
        self.waits = waits
        # The agent pings every 10 s: nobody is behind a stream that is silent for longer.
        self._stream = aiohttp.ClientTimeout(
            total=None, sock_connect=CONNECT_S, sock_read=waits.silence_s
        )
        self._origin = origin
        self._responses: WeakSet[aiohttp.ClientResponse] = WeakSet()
        self._session = aiohttp.ClientSession(
            connector=connector,
            headers={"Authorization": f"Bearer {token}"} if token else {},
            skip_auto_headers=("User-Agent", "Accept-Encoding"),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
        )

    @classmethod
    def over_unix(cls, path: str, waits: AgentWaits | None = None) -> "AgentHttp":
        connector = aiohttp.UnixConnector(path, limit=CONNECTIONS)
        return cls(connector, "http://agent", None, waits or AgentWaits())

    @classmethod
    def over_tcp(cls, address: str, token: str) -> "AgentHttp":
        connector = aiohttp.TCPConnector(limit=CONNECTIONS)
        return cls(connector, f"http://{address}", token, AgentWaits())

    def patience(self) -> Patience:
        """For the waiting for one file or tree, on its way in either direction."""
        return Patience(self.waits)

    async def open(
        self,
        method: str,
        path: str,
        *,
        body: Body = None,
        timeout: aiohttp.ClientTimeout | None = None,
        buffer_bytes: int = 256 * 1024,
    ) -> aiohttp.ClientResponse:
        """The response with its body still to be read; whoever opens it closes it.

        Without a `timeout` it begins within the time of one silence; how long its body may take is for
        the reader to say. `path` is percent-encoded. Raises what the agent's error codes stand for.
        """
        begins_s = self.waits.silence_s if timeout is None else None
        with line_errors():
            async with asyncio.timeout(begins_s):
                return await self._open(method, path, body, timeout or self._stream, buffer_bytes)

    async def send(self, method: str, path: str, body: Body) -> bytes:
        """The answer to a body of any length; how long that may take is for its source to say."""
        response = await self._open(method, path, body, self._stream, JSON_MAX_BYTES)
        try:
            return await read_bounded(response, JSON_MAX_BYTES)
        finally:
            response.close()

    async def _open(
        self, method: str, path: str, body: Body, timeout: aiohttp.ClientTimeout, buffer_bytes: int
    ) -> aiohttp.ClientResponse:
        if self._session.closed:
            raise SandboxLost("The line to the sandbox was closed.")
        with line_errors():
            response = await self._session.request(
                method,
                URL(self._origin + path, encoded=True),
                data=body,
                timeout=timeout,
                allow_redirects=False,
                read_bufsize=buffer_bytes,
            )
        self._responses.add(response)
        if response.status not in (200, 204):
            try:
                raise await _failure(response)
            finally:
                response.close()
        return response

    async def read(
        self,
        method: str,
        path: str,
        *,
        body: Body = None,
        timeout: aiohttp.ClientTimeout | None = None,
        max_bytes: int = JSON_MAX_BYTES,
    ) -> bytes:
        """The whole body, `max_bytes` at most."""
        deadline = timeout or within(SHORT_S)
        response = await self.open(method, path, body=body, timeout=deadline)
        try:
            return await read_bounded(response, max_bytes)
        finally:
            response.close()

    async def ask(
        self,
        answer: type[Answer],
        method: str,
        path: str,
        *,
        body: Body = None,
        timeout: aiohttp.ClientTimeout | None = None,
        max_bytes: int = JSON_MAX_BYTES,
    ) -> Answer:
        """The body as an `answer`. Raises AgentViolation when it is none."""
        raw = await self.read(method, path, body=body, timeout=timeout, max_bytes=max_bytes)
        return parse_answer(answer, raw)

    async def close(self) -> None:
        """Break whatever still flows; the library by itself would leave its readers waiting for ever."""
        for response in list(self._responses):
            response.close()
        await self._session.close()


def parse_answer(answer: type[Answer], raw: bytes) -> Answer:
    """`raw` as an `answer`. Raises AgentViolation when it is none, or more than any answer has in it."""
    if len(raw) - len(raw.translate(None, b",[{")) > MOST_VALUES:
        raise AgentViolation("The sandbox's agent gave an answer of too many parts.")
    try:
        return answer.model_validate_json(raw)
    except ValidationError as error:
        what = f"{error.error_count()} errors"
        raise AgentViolation(f"The sandbox's agent gave a malformed answer ({what}).") from None


async def read_bounded(response: aiohttp.ClientResponse, max_bytes: int) -> bytes:
    """The rest of the body. Raises AgentViolation when it is longer than `max_bytes`."""
    parts: list[bytes] = []
    size = 0
    while chunk := await read_chunk(response):
        size += len(chunk)
        if size > max_bytes:
            raise AgentViolation(f"The sandbox's agent answered with over {max_bytes} bytes.")
        parts.append(chunk)
    return b"".join(parts)


async def read_chunk(response: aiohttp.ClientResponse) -> bytes:
    """The bytes that have come; empty at the end of the body."""
    with line_errors():
        return await response.content.readany()


async def _failure(response: aiohttp.ClientResponse) -> ServiceError:
    """What an error answer means, in our own words: the agent's are not repeated."""
    match response.status:
        case 400:
            failure: ServiceError = InvalidRequest("The sandbox refused the request.")
        case 404:
            failure = NotFound("There is no such thing in the sandbox.")
        case 409:
            failure = InvalidRequest("This is not a regular file.", code="not_a_file", param="path")
        case 503:
            failure = SandboxLost("The sandbox has no kernel.")
        case 507:
            failure = WorkspaceFull("The workspace has no room for this.")
        case status:
            return AgentViolation(f"The sandbox's agent answered with status {status}.")
    await read_bounded(response, ERROR_MAX_BYTES)
    return failure
