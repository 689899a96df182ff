"""One session of a service: run code, move files, steer the kernel."""

import asyncio
import os
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path
from typing import Any, TypedDict
from urllib.parse import quote

from sandbox_service.client.errors import NotFound, SessionGone
from sandbox_service.client.events import Event, read_events
from sandbox_service.client.parsing import parse_execution, parse_file, parse_list, parse_session
from sandbox_service.client.results import ExecutionResult, FileInfo, SessionInfo
from sandbox_service.client.transport import Transport

CHUNK_BYTES = 1024 * 1024
LONGEST_EXECUTION_S = 2 * 3600.0
"""How long a finished result is waited for: the queue before it, and the code itself."""


class SessionOptions(TypedDict, total=False):
    """How a session is opened; what is left out is the service's default."""

    template: str
    idle_ttl_s: float
    max_age_s: float
    limits: dict[str, float]
    metadata: dict[str, str]


class Session:
    """A stateful workspace with a live kernel.

    Every method raises ClientError: SessionGone once the session is over.
    """

    def __init__(self, session_id: str, transport: Transport) -> None:
        self.id = session_id
        self._transport = transport
        self._path = f"/v1/sessions/{quote(session_id, safe='')}"

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

    async def execute(self, code: str, timeout_s: float | None = None) -> ExecutionResult:
        """Run `code` and return when it has finished, whatever its outcome."""
        path = f"{self._path}/executions"
        body = _execution_body(code, timeout_s)
        answer = await self._transport.json("POST", path, json=body, wait_s=LONGEST_EXECUTION_S)
        return parse_execution(answer, self._transport)

    async def stream(
        self, code: str, timeout_s: float | None = None, *, cancel_on_disconnect: bool = False
    ) -> AsyncGenerator[Event]:
        """Run `code` and yield its events as they happen; the last one is ExecutionCompleted.

        Leaving early lets the code run on, unless `cancel_on_disconnect` says to interrupt it.
        """
        body = _execution_body(code, timeout_s) | {"stream": True}
        if cancel_on_disconnect:
            body["cancel_on_disconnect"] = True
        async with self._transport.stream("POST", f"{self._path}/executions", json=body) as answer:
            async for event in read_events(answer.aiter_lines(), self._transport):
                yield event

    async def execution(self, execution_id: str) -> ExecutionResult:
        """An execution of this session again; `status` may still be queued or running."""
        answer = await self._transport.json("GET", f"{self._path}/executions/{execution_id}")
        return parse_execution(answer, self._transport)

    async def events(self, execution_id: str, after: int = 0) -> AsyncGenerator[Event]:
        """Yield the events of an execution that come after number `after`, live to its end."""
        path = f"{self._path}/executions/{execution_id}/events"
        headers = {"Last-Event-ID": str(after)} if after else {}
        async with self._transport.stream("GET", path, headers=headers) as answer:
            async for event in read_events(answer.aiter_lines(), self._transport, after):
                yield event

    async def upload(self, source: str | Path | bytes, name: str | None = None) -> FileInfo:
        """Put a local file, or bytes under `name`, into the workspace."""
        if isinstance(source, bytes):
            if name is None:
                raise ValueError("bytes need a name to be uploaded under")
            return await self._put(name, source, len(source))
        size = (await asyncio.to_thread(os.stat, source)).st_size
        return await self._put(name or Path(source).name, _chunks_of(Path(source)), size)

    async def download(self, name: str) -> bytes:
        """The content of a file of the workspace."""
        async with self._transport.stream("GET", self._file(name)) as answer:
            return await answer.aread()

    async def files(self) -> list[FileInfo]:
        """Every file and directory of the workspace."""
        answer = await self._transport.json("GET", f"{self._path}/files")
        return [parse_file(entry) for entry in parse_list(answer)]

    async def delete(self, name: str) -> None:
        """Remove a file, or a directory with all that is in it."""
        await self._transport.json("DELETE", self._file(name))

    async def notebook(self) -> dict[str, Any]:
        """The session so far as a notebook (nbformat v4)."""
        answer: dict[str, Any] = await self._transport.json("GET", f"{self._path}/notebook")
        return answer

    async def interrupt(self) -> None:
        """Stop the running code; variables are kept."""
        await self._transport.json("POST", f"{self._path}/interrupt")

    async def restart(self) -> None:
        """Start a fresh kernel; variables are gone, files stay."""
        await self._transport.json("POST", f"{self._path}/restart")

    async def close(self) -> None:
        """End the session; one that is over already is fine."""
        try:
            await self._transport.json("DELETE", self._path)
        except (NotFound, SessionGone):
            return

    def _file(self, name: str) -> str:
        return f"{self._path}/files/{quote(name.encode('utf-8', 'surrogateescape'), safe='/')}"

    async def _put(self, name: str, content: bytes | AsyncIterator[bytes], size: int) -> FileInfo:
        headers = {"Content-Length": str(size), "Content-Type": "application/octet-stream"}
        answer = await self._transport.json(
            "PUT", self._file(name), content=content, headers=headers
        )
        return parse_file(answer)


def _execution_body(code: str, timeout_s: float | None) -> dict[str, Any]:
    return {"code": code} if timeout_s is None else {"code": code, "timeout_s": timeout_s}


async def _chunks_of(path: Path) -> AsyncIterator[bytes]:
    with await asyncio.to_thread(path.open, "rb") as file:
        while chunk := await asyncio.to_thread(file.read, CHUNK_BYTES):
            yield chunk
