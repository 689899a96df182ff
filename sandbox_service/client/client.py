"""The way in: a client of one service, and the sessions it opens."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, Self, Unpack

import httpx

from sandbox_service.client.errors import ApiError
from sandbox_service.client.parsing import parse_list, parse_one_call, parse_session
from sandbox_service.client.results import ExecutionResult, SessionInfo
from sandbox_service.client.session import LONGEST_EXECUTION_S, Session, SessionOptions
from sandbox_service.client.transport import Transport

DEFAULT_URL = "http://127.0.0.1:8000"


class SandboxClient:
    """A client of one service. URL and key come from SANDBOX_URL and SANDBOX_API_KEY unless given.

    async with SandboxClient() as client, client.open_session() as session:
        result = await session.execute("1 + 1")
    """

    def __init__(
        self,
        base_url: str | None = None,
        api_key: str | None = None,
        *,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        url = base_url or os.environ.get("SANDBOX_URL") or DEFAULT_URL
        key = api_key or os.environ.get("SANDBOX_API_KEY")
        self._transport = Transport(url, key, transport)

    @property
    def base_url(self) -> str:
        return self._transport.base_url

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections; sessions go on."""
        await self._transport.close()

    async def is_ready(self) -> bool:
        """Whether the service says that it can take work. Raises ServiceUnreachable."""
        try:
            async with self._transport.stream("GET", "/readyz"):
                return True
        except ApiError:
            return False

    async def new_session(self, **options: Unpack[SessionOptions]) -> Session:
        """Open a session that the caller closes, or that expires."""
        info = parse_session(await self._transport.json("POST", "/v1/sessions", json=options))
        return Session(info.id, self._transport)

    @asynccontextmanager
    async def open_session(
        self, *, keep: bool = False, **options: Unpack[SessionOptions]
    ) -> AsyncIterator[Session]:
        """Open a session and close it at the end, unless it is to be kept."""
        session = await self.new_session(**options)
        try:
            yield session
        finally:
            if not keep:
                await session.close()

    def session(self, session_id: str) -> Session:
        """A session that exists already. Nothing is sent: its first call tells if it is there."""
        return Session(session_id, self._transport)

    async def sessions(self, limit: int = 20) -> list[SessionInfo]:
        """The newest sessions of the key's tenant."""
        answer = await self._transport.json("GET", "/v1/sessions", params={"limit": limit})
        return [parse_session(item) for item in parse_list(answer)]

    async def execute(
        self, code: str, *, timeout_s: float | None = None, **options: Unpack[SessionOptions]
    ) -> ExecutionResult:
        """Run `code` once, in a session of its own that is closed afterwards."""
        body: dict[str, Any] = {"code": code, "close_session": True}
        if timeout_s is not None:
            body["timeout_s"] = timeout_s
        if options:
            body["session"] = options
        answer = await self._transport.json(
            "POST", "/v1/executions", json=body, wait_s=LONGEST_EXECUTION_S
        )
        return parse_one_call(answer, self._transport)
