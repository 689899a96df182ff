"""One HTTP connection pool to one service: where requests go out and failures become our errors."""

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from ipaddress import ip_address
from typing import Any

import httpx

from sandbox_service.client.errors import ApiError, ProtocolError, ServiceUnreachable, api_error

CONNECT_TIMEOUT_S = 10.0
READ_TIMEOUT_S = 60.0
"""Longest silence of the service; streams carry keep-alives more often than this."""


class Transport:
    """Sends requests with the caller's key. Raises ClientError and nothing of the HTTP library."""

    def __init__(
        self, base_url: str, api_key: str | None, inner: httpx.AsyncBaseTransport | None = None
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self._http = httpx.AsyncClient(
            base_url=self.base_url,
            headers={"Authorization": f"Bearer {api_key}"} if api_key else {},
            timeout=httpx.Timeout(READ_TIMEOUT_S, connect=CONNECT_TIMEOUT_S),
            transport=inner,
            trust_env=inner is None and not is_loopback(self.base_url),
        )

    async def close(self) -> None:
        await self._http.aclose()

    async def json(self, method: str, path: str, *, wait_s: float = 0.0, **options: Any) -> Any:
        """The JSON answer, None when it is empty; `wait_s` is how long the call itself may take."""
        timeout = httpx.Timeout(READ_TIMEOUT_S + wait_s, connect=CONNECT_TIMEOUT_S)
        with self._translated():
            response = await self._http.request(method, path, timeout=timeout, **options)
        if response.is_error:
            raise _error_of(response)
        return _parse(response.content) if response.content else None

    @asynccontextmanager
    async def stream(self, method: str, path: str, **options: Any) -> AsyncIterator[httpx.Response]:
        """An open answer, read by the caller. Raises ApiError before yielding an error status."""
        with self._translated():
            async with self._http.stream(method, path, **options) as response:
                if response.is_error:
                    await response.aread()
                    raise _error_of(response)
                yield response

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except httpx.TransportError as error:
            reason = str(error) or type(error).__name__
            raise ServiceUnreachable(f"no answer from {self.base_url}: {reason}") from error
        except httpx.HTTPError as error:
            raise ProtocolError(str(error)) from error


def is_loopback(url: str) -> bool:
    """Whether the address is this machine's own: no proxy of the environment leads there."""
    try:
        host = httpx.URL(url).host
        return host == "localhost" or ip_address(host).is_loopback
    except (ValueError, httpx.InvalidURL):
        return False


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
