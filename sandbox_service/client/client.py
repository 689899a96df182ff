"""The way in: a client of one service, and the sessions it opens."""

import os
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self, Unpack
from urllib.parse import quote

import httpx

from sandbox_service.client.errors import ApiError
from sandbox_service.client.events import Event
from sandbox_service.client.follow import Follower, Place, result_of
from sandbox_service.client.parsing import parse_artifact, parse_list, parse_session
from sandbox_service.client.results import Artifact, ExecutionResult, SessionInfo
from sandbox_service.client.retries import Retries
from sandbox_service.client.session import Session, SessionOptions, key_or_new
from sandbox_service.client.transport import Transport
from sandbox_service.domain.ports import Clock

DEFAULT_URL = "http://127.0.0.1:8000"


class SandboxClient:
    """A client of one service. URL and key come from SANDBOX_URL and SANDBOX_API_KEY unless given.

    async with SandboxClient() as client, client.open_session() as session:
        result = await session.execute("1 + 1")

    `retries` says how calls are tried again; `transport` and `clock` are for tests.
    """

    def __init__(
        self,
        base_url: str | None = None,
        api_key: str | None = None,
        *,
        retries: Retries | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
        clock: Clock | None = None,
    ) -> None:
        url = base_url or os.environ.get("SANDBOX_URL") or DEFAULT_URL
        key = api_key or os.environ.get("SANDBOX_API_KEY")
        self._transport = Transport(url, key, transport, retries, clock)

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
        """Whether the service says, asked once, that it can take work. Raises ServiceUnreachable."""
        try:
            async with self._transport.stream("GET", "/readyz"):
                return True
        except ApiError:
            return False

    async def new_session(
        self, *, idempotency_key: str | None = None, **options: Unpack[SessionOptions]
    ) -> Session:
        """Open a session that the caller closes, or that expires.

        The same `idempotency_key` gives the same session; each call makes its own unless given.
        """
        key = key_or_new(idempotency_key)
        answer = await self._transport.json("POST", "/v1/sessions", key=key, json=options)
        return Session(parse_session(answer).id, self._transport)

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

    async def sessions(self, limit: int = 20, after: str | None = None) -> list[SessionInfo]:
        """The newest sessions of the key's tenant, those after the one with id `after`."""
        params = {"limit": limit} | ({"after": after} if after else {})
        answer = await self._transport.json("GET", "/v1/sessions", params=params)
        return [parse_session(item) for item in parse_list(answer)]

    async def artifact(self, artifact_id: str) -> Artifact:
        """A file that some execution made, by its id; its session may be over."""
        path = f"/v1/artifacts/{quote(artifact_id, safe='')}"
        return parse_artifact(await self._transport.json("GET", path), self._transport)

    async def run(
        self,
        code: str,
        *,
        files: Mapping[str, str | Path | bytes] | None = None,
        timeout_s: float | None = None,
        idempotency_key: str | None = None,
        **options: Unpack[SessionOptions],
    ) -> ExecutionResult:
        """Run `code` once, in a session of its own that is closed afterwards.

        `files` are put into its workspace before: names there, and paths or contents. That takes
        several calls, which no one `idempotency_key` can stand for.
        """
        if not files:
            body = _one_call_body(code, timeout_s, options)
            return await result_of(self._one_call(body, key_or_new(idempotency_key)))
        if idempotency_key is not None:
            raise ValueError("with files there are several calls: they have no one key")
        async with self.open_session(**options) as session:
            for name, source in files.items():
                await session.upload(source, name)
            return await session.execute(code, timeout_s)

    def _one_call(self, body: dict[str, Any], key: str) -> AsyncGenerator[Event]:
        headers = {"Idempotency-Key": key}
        follower = Follower(
            self._transport,
            Place(),
            lambda: self._transport.stream("POST", "/v1/executions", json=body, headers=headers),
        )
        return follower.events()


def _one_call_body(code: str, timeout_s: float | None, options: SessionOptions) -> dict[str, Any]:
    body: dict[str, Any] = {"code": code, "close_session": True, "stream": True}
    if timeout_s is not None:
        body["timeout_s"] = timeout_s
    if options:
        body["session"] = options
    return body
