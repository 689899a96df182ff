"""One HTTP connection pool to one service: where requests go out and failures become our errors."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from ipaddress import ip_address
from typing import Any, TypeVar

import httpx

from sandbox_service.client.errors import (
    ApiError,
    ClientError,
    NotFound,
    ProtocolError,
    ServiceUnreachable,
    api_error,
)
from sandbox_service.client.retries import Patience, Retries, is_passing
from sandbox_service.domain.clock import SystemClock
from sandbox_service.domain.ports import Clock

T = TypeVar("T")

CONNECT_TIMEOUT_S = 10.0
READ_TIMEOUT_S = 60.0
"""Longest silence of the service; streams carry keep-alives more often than this."""

# Every execution that is followed holds a connection: how many is the caller's choice.
_LIMITS = httpx.Limits(max_connections=None, max_keepalive_connections=20)
_UNSENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
# Of our own making: the same call fails the same way.
_HOPELESS = (httpx.LocalProtocolError, httpx.UnsupportedProtocol)


class Transport:
    """Sends requests with the caller's key. Raises ClientError and nothing of the HTTP library."""

    def __init__(
        self,
        base_url: str,
        api_key: str | None,
        inner: httpx.AsyncBaseTransport | None = None,
        retries: Retries | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self.clock = clock or SystemClock()
        self._retries = retries or Retries()
        self._http = httpx.AsyncClient(
            base_url=self.base_url,
            headers={"Authorization": f"Bearer {api_key}"} if api_key else {},
            timeout=httpx.Timeout(READ_TIMEOUT_S, connect=CONNECT_TIMEOUT_S),
            limits=_LIMITS,
            transport=inner,
            trust_env=inner is None and not is_loopback(self.base_url),
        )

    async def close(self) -> None:
        await self._http.aclose()

    async def json(self, method: str, path: str, *, key: str | None = None, **options: Any) -> Any:
        """The JSON answer, None when it is empty; tried again if that is safe.

        A POST is sent again only with an Idempotency-Key `key`, or if it never arrived.
        """
        if key is not None:
            options["headers"] = {**options.get("headers", {}), "Idempotency-Key": key}
        once = method == "POST" and key is None
        return await self.repeated(lambda: self.json_once(method, path, **options), once=once)

    async def json_once(self, method: str, path: str, **options: Any) -> Any:
        """The JSON answer to one attempt."""
        with self._translated():
            response = await self._http.request(method, path, **options)
        if response.is_error:
            raise _error_of(response)
        return _parse(response.content) if response.content else None

    async def content(self, path: str) -> bytes:
        """The whole body."""

        async def read() -> bytes:
            async with self.stream("GET", path) as answer:
                return await answer.aread()

        return await self.repeated(read)

    async def delete(self, path: str) -> None:
        """Remove what is there. Gone at a second attempt means that the first one arrived."""
        attempts = 0

        async def remove() -> None:
            nonlocal attempts
            attempts += 1
            try:
                await self.json_once("DELETE", path)
            except NotFound:
                if attempts == 1:
                    raise

        await self.repeated(remove)

    @asynccontextmanager
    async def stream(self, method: str, path: str, **options: Any) -> AsyncIterator[httpx.Response]:
        """An open answer to one attempt, read by the caller. Raises ApiError before yielding."""
        with self._translated():
            async with self._http.stream(method, path, **options) as response:
                if response.is_error:
                    await response.aread()
                    raise _error_of(response)
                yield response

    async def repeated(self, attempt: Callable[[], Awaitable[T]], *, once: bool = False) -> T:
        """What `attempt` returns, tried again while that may help.

        With `once` it is tried again only if it certainly did not reach the service.
        """
        patience = self.call_patience()
        while True:
            try:
                return await attempt()
            except ClientError as error:
                if not _may_repeat(error, once=once) or not await patience.wait(error):
                    raise

    def call_patience(self) -> Patience:
        """Patience with one call."""
        retries = self._retries
        return Patience(retries, self.clock, retries.attempts, retries.deadline_s)

    def stream_patience(self) -> Patience:
        """Patience with a stream that was open already."""
        return Patience(self._retries, self.clock, None, self._retries.resume_s)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except _HOPELESS as error:
            raise ProtocolError(f"{self.base_url}: {error}") from error
        except httpx.TransportError as error:
            reason = str(error) or type(error).__name__
            raise ServiceUnreachable(
                f"no answer from {self.base_url}: {reason}",
                was_sent=not isinstance(error, _UNSENT),
            ) from error
        except httpx.HTTPError as error:
            raise ProtocolError(str(error)) from error


def is_loopback(url: str) -> bool:
    """Whether the address is this machine's own: no proxy of the environment leads there."""
    try:
        host = httpx.URL(url).host
        return host == "localhost" or ip_address(host).is_loopback
    except (ValueError, httpx.InvalidURL):
        return False


def _may_repeat(error: ClientError, *, once: bool) -> bool:
    if once:
        return isinstance(error, ServiceUnreachable) and not error.was_sent
    return is_passing(error)


def _error_of(response: httpx.Response) -> ApiError:
    try:
        body = response.json()
    except ValueError:
        body = None
    return api_error(body, response.status_code, response.headers.get("retry-after"))


def _parse(content: bytes) -> Any:
    try:
        return json.loads(content)
    except ValueError as error:
        raise ProtocolError("the answer is not JSON") from error
