"""One session of a service: run code, move files, steer the kernel."""

import asyncio
import json
import secrets
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypedDict
from urllib.parse import quote

from sandbox_service.client.errors import ClientError, NotFound, SessionGone
from sandbox_service.client.events import Event
from sandbox_service.client.follow import Follower, Place, result_of
from sandbox_service.client.parsing import parse_execution, parse_file, parse_list, parse_session
from sandbox_service.client.results import CHUNK_BYTES, ExecutionResult, FileInfo, SessionInfo
from sandbox_service.client.saving import written
from sandbox_service.client.transport import Transport
from sandbox_service.client.uploads import Source, open_upload

INTERRUPT_S = 5.0
"""How long a caller who leaves is kept for the interrupt that was asked for."""


class SessionOptions(TypedDict, total=False):
    """How a session is opened; what is left out is the service's default."""

    template: str
    idle_ttl_s: float
    max_age_s: float
    limits: dict[str, float]
    metadata: dict[str, str]


class Session:
    """A stateful workspace with a live kernel. Leaving its `async with` block closes it.

    Every method raises ClientError: SessionGone once the session is over.
    """

    def __init__(self, session_id: str, transport: Transport) -> None:
        self._id = session_id
        self._transport = transport
        self._path = f"/v1/sessions/{quote(session_id, safe='')}"

    @property
    def id(self) -> str:
        """What finds the session again: `client.session(id)`."""
        return self._id

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def info(self) -> SessionInfo:
        """What the service says of the session now."""
        return parse_session(await self._transport.json("GET", self._path))

    async def update(
        self,
        *,
        idle_ttl_s: float | None = None,
        max_age_s: float | None = None,
        metadata: dict[str, str] | None = None,
    ) -> SessionInfo:
        """Extend or relabel the session; what is None stays as it is."""
        asked = {"idle_ttl_s": idle_ttl_s, "max_age_s": max_age_s, "metadata": metadata}
        body = {name: value for name, value in asked.items() if value is not None}
        return parse_session(await self._transport.json("PATCH", self._path, json=body))

    async def extend(
        self, idle_ttl_s: float | None = None, max_age_s: float | None = None
    ) -> SessionInfo:
        """Start the idle time anew, and change how long it is if that is said."""
        return await self.update(idle_ttl_s=idle_ttl_s, max_age_s=max_age_s)

    async def execute(
        self, code: str, timeout_s: float | None = None, *, idempotency_key: str | None = None
    ) -> ExecutionResult:
        """Run `code` and return when it has finished, whatever its outcome.

        The code runs once, however often the connection breaks meanwhile. The same
        `idempotency_key` gives the same execution again; each call makes its own unless given.
        """
        return await result_of(self.stream(code, timeout_s, idempotency_key=idempotency_key))

    def stream(
        self,
        code: str,
        timeout_s: float | None = None,
        *,
        interrupt_on_leave: bool = False,
        cancel_on_disconnect: bool = False,
        idempotency_key: str | None = None,
    ) -> AsyncGenerator[Event]:
        """Run `code` and yield its events as they happen; the last one is ExecutionCompleted.

        A broken connection is made again and the rest asked for: each event comes once. Raises
        StreamBroken when the rest cannot be had. Leaving early lets the code run on, unless
        `interrupt_on_leave` has the client interrupt it. With `cancel_on_disconnect` the service
        does so, whatever ended the connection: also when it broke, or this program died.
        """
        body: dict[str, Any] = {"code": code, "stream": True}
        if timeout_s is not None:
            body["timeout_s"] = timeout_s
        if cancel_on_disconnect:
            body["cancel_on_disconnect"] = True
        path, headers = f"{self._path}/executions", {"Idempotency-Key": key_or_new(idempotency_key)}
        place = Place(self._id)
        events = Follower(
            self._transport,
            place,
            lambda: self._transport.stream("POST", path, json=body, headers=headers),
        ).events()
        return self._interrupted_on_leave(events, place) if interrupt_on_leave else events

    def events(self, execution_id: str, after: int = 0) -> AsyncGenerator[Event]:
        """Yield the events of an execution that come after number `after`, live to its end."""
        return Follower(self._transport, Place(self._id, execution_id, after)).events()

    async def execution(self, execution_id: str) -> ExecutionResult:
        """An execution of this session again; `status` may still be queued or running."""
        path = f"{self._path}/executions/{quote(execution_id, safe='')}"
        return parse_execution(await self._transport.json("GET", path), self._transport)

    async def executions(self, limit: int = 100, after: str | None = None) -> list[ExecutionResult]:
        """The session's executions, oldest first, those after the one with id `after`."""
        params = {"limit": limit} | ({"after": after} if after else {})
        answer = await self._transport.json("GET", f"{self._path}/executions", params=params)
        return [parse_execution(item, self._transport) for item in parse_list(answer)]

    async def upload(self, source: Source, name: str | None = None) -> FileInfo:
        """Put a file into the workspace: a local path, bytes, an open binary file, or chunks.

        `name` is the path in the workspace; bytes and chunks need one. Sent again if the
        connection breaks, but for what can be read only once.
        """
        upload = await open_upload(source, name)
        path = self._file(upload.name)

        async def put() -> Any:
            return await self._transport.json_once(
                "PUT", path, content=upload.chunks(), headers=upload.headers
            )

        return parse_file(await self._transport.repeated(put, once=not upload.is_repeatable))

    async def download(self, name: str) -> bytes:
        """The content of a file of the workspace."""
        return await self._transport.content(self._file(name))

    async def download_to(self, name: str, path: str | Path) -> Path:
        """Write a file of the workspace to the local `path`, all or nothing."""
        return await self._copy(self._file(name), Path(path))

    async def archive_to(self, path: str | Path) -> Path:
        """Write the whole workspace to the local `path`, as a tar."""
        return await self._copy(f"{self._path}/archive", Path(path))

    async def files(self, prefix: str = "") -> list[FileInfo]:
        """Every file and directory of the workspace, or of its folder `prefix`."""
        params = {"prefix": prefix} if prefix else {}
        answer = await self._transport.json("GET", f"{self._path}/files", params=params)
        return [parse_file(entry) for entry in parse_list(answer)]

    async def delete(self, name: str) -> None:
        """Remove a file, or a directory with all that is in it."""
        await self._transport.delete(self._file(name))

    async def notebook(self) -> dict[str, Any]:
        """The session so far as a notebook (nbformat v4)."""
        answer: dict[str, Any] = await self._transport.json("GET", f"{self._path}/notebook")
        return answer

    async def save_notebook(self, path: str | Path) -> Path:
        """Write the session so far to the local `path`, as .ipynb."""
        text = json.dumps(await self.notebook(), ensure_ascii=False, indent=1)
        await asyncio.to_thread(_write_text, Path(path), text)
        return Path(path)

    async def interrupt(self) -> SessionInfo:
        """Stop the running code; variables are kept. Sent once: a second could hit other code."""
        return parse_session(await self._transport.json("POST", f"{self._path}/interrupt"))

    async def restart(self) -> SessionInfo:
        """Start a fresh kernel; variables are gone, files stay. Sent once, as `interrupt` is."""
        return parse_session(await self._transport.json("POST", f"{self._path}/restart"))

    async def close(self) -> None:
        """End the session; one that is over already is fine."""
        try:
            await self._transport.delete(self._path)
        except (NotFound, SessionGone):
            return

    async def _interrupted_on_leave(
        self, events: AsyncGenerator[Event], place: Place
    ) -> AsyncGenerator[Event]:
        try:
            async with aclosing(events):
                async for event in events:
                    yield event
        except (GeneratorExit, asyncio.CancelledError):
            with suppress(ClientError, TimeoutError):
                async with asyncio.timeout(INTERRUPT_S):
                    await self._interrupt_if_running(place.execution_id)
            raise

    async def _interrupt_if_running(self, execution_id: str) -> None:
        """What comes after it in the session is not meant."""
        if execution_id and (await self.execution(execution_id)).status == "running":
            await self.interrupt()

    def _file(self, name: str) -> str:
        return f"{self._path}/files/{quote(name.encode('utf-8', 'surrogateescape'), safe='/')}"

    async def _copy(self, url_path: str, target: Path) -> Path:
        async def copy() -> None:
            with written(target) as file:
                async with self._transport.stream("GET", url_path) as answer:
                    async for chunk in answer.aiter_bytes(CHUNK_BYTES):
                        await asyncio.to_thread(file.write, chunk)

        await self._transport.repeated(copy)
        return target


def key_or_new(idempotency_key: str | None) -> str:
    """The caller's key, or one that is never used again."""
    return idempotency_key or secrets.token_urlsafe(18)


def _write_text(path: Path, text: str) -> None:
    with written(path) as file:
        file.write(text.encode("utf-8", "surrogatepass"))
