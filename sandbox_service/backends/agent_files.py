"""The workspace behind an agent: names decoded, sizes checked, bytes in constant memory."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from datetime import UTC, datetime
from typing import Literal

import aiohttp
from pydantic import BaseModel, Field

from sandbox_service.backends.agent_http import (
    AgentHttp,
    Count,
    line_errors,
    parse_answer,
    read_chunk,
    within,
)
from sandbox_service.backends.agent_patience import Patience
from sandbox_service.domain.errors import AgentViolation, SandboxLost, ServiceError
from sandbox_service.domain.names import decode_name, encode_name
from sandbox_service.domain.ports import FileStream
from sandbox_service.domain.values import MIB, FileEntry

TREE_S = 60.0
LIST_MAX_BYTES = 16 * MIB
LIST_MAX_ENTRIES = 10_000
AT_ONCE = 500
ARCHIVE_MAX_BYTES = 5 * 1024 * MIB
BUFFER_BYTES = 1 * MIB
LATEST_S = 253_402_300_799  # the last second of the year 9999


class AgentFiles:
    """Files under /mnt/data of one sandbox, behind the `WorkspaceFiles` port."""

    def __init__(self, http: AgentHttp) -> None:
        self._http = http

    async def list(self, prefix: str = "") -> Sequence[FileEntry]:
        """All entries below `prefix`, sorted by path; at most 10,000."""
        path = f"/v1/files?prefix={encode_name(prefix)}" if prefix else "/v1/files"
        answer = await self._http.ask(
            _Listing, "GET", path, timeout=within(TREE_S), max_bytes=LIST_MAX_BYTES
        )
        entries: list[FileEntry] = []
        for start in range(0, len(answer.entries), AT_ONCE):
            entries.extend(map(_entry, answer.entries[start : start + AT_ONCE]))
            await asyncio.sleep(0)  # others get their turn
        return sorted(entries, key=lambda entry: entry.path)

    @asynccontextmanager
    async def read(self, path: str) -> AsyncIterator[FileStream]:
        """Open a regular file for streaming. Never follows a symbolic link."""
        response = await self._open(_url(path))
        try:
            size = response.content_length
            if size is None:
                raise AgentViolation("The sandbox's agent does not say how long the file is.")
            async with aclosing(_sized_chunks(response, size, self._http.patience())) as chunks:
                yield FileStream(size, chunks)
        finally:
            response.close()

    async def write(self, path: str, chunks: AsyncIterator[bytes]) -> FileEntry:
        """Replace or create the file with what `chunks` yield, all or nothing."""
        raw = await self._put(_url(path), chunks)
        entry = _entry(parse_answer(_Entry, raw))
        if entry.path != path or entry.type != "file":
            raise AgentViolation("The sandbox's agent wrote another file than it was given.")
        return entry

    async def delete(self, path: str) -> None:
        """Remove a file, or a directory with all that is in it."""
        await self._http.read("DELETE", _url(path), timeout=within(TREE_S))

    @asynccontextmanager
    async def archive(self) -> AsyncIterator[AsyncIterator[bytes]]:
        """The workspace as a tar stream."""
        response = await self._open("/v1/archive")
        try:
            async with aclosing(_archive_chunks(response, self._http.patience())) as chunks:
                yield chunks
        finally:
            response.close()

    async def _open(self, path: str) -> aiohttp.ClientResponse:
        return await self._http.open("GET", path, buffer_bytes=BUFFER_BYTES)

    async def _put(self, path: str, chunks: AsyncIterator[bytes]) -> bytes:
        patience = self._http.patience()
        upload: _Upload | None = None
        try:
            with line_errors():
                async with asyncio.timeout_at(patience.begin()) as due:
                    upload = _Upload(chunks, patience, due)
                    return await self._http.send("PUT", path, upload)
        except ServiceError:
            if upload is not None and upload.error is not None:
                raise upload.error from None
            raise


class _Upload:
    """The caller's chunks on their way to the agent.

    The time that is `due` runs only while the agent is slow to take a chunk, never while the caller is
    slow to give one. What the caller's side raises is kept in `error`, because the HTTP library
    reports it as a broken connection.
    """

    def __init__(
        self, chunks: AsyncIterator[bytes], patience: Patience, due: asyncio.Timeout
    ) -> None:
        self.error: Exception | None = None
        self._chunks = chunks
        self._patience = patience
        self._due = due

    def __aiter__(self) -> "_Upload":
        return self

    async def __anext__(self) -> bytes:
        self._patience.end()
        self._due.reschedule(None)
        try:
            chunk = await anext(self._chunks)
            self._patience.moved(len(chunk))
            return chunk
        except StopAsyncIteration:
            raise
        except Exception as error:
            self.error = error
            raise
        finally:
            self._due.reschedule(self._patience.begin())


class _Entry(BaseModel):
    name: str
    type: Literal["file", "directory"]
    size: Count
    mtime_ns: int = Field(ge=-(2**100), le=2**100)  # seconds have 64 bits


class _Listing(BaseModel):
    entries: list[_Entry] = Field(max_length=LIST_MAX_ENTRIES)


def _url(path: str) -> str:
    return f"/v1/files/{encode_name(path)}"


def _entry(item: _Entry) -> FileEntry:
    # A user may set any time on a file; what a datetime cannot hold is moved to the nearest it can.
    seconds = min(max(item.mtime_ns / 1e9, 0), LATEST_S)
    modified_at = datetime.fromtimestamp(seconds, UTC)
    path = _decoded(item.name)
    return FileEntry(path=path, type=item.type, size=item.size, modified_at=modified_at)


def _decoded(name: str) -> str:
    try:
        return decode_name(name)
    except ValueError as error:
        raise AgentViolation(f"The sandbox's agent misnamed a file: {error}.") from None


async def _sized_chunks(
    response: aiohttp.ClientResponse, size: int, patience: Patience
) -> AsyncGenerator[bytes, None]:
    """Exactly `size` bytes. Raises SandboxLost when fewer come."""
    left = size
    while left:
        chunk = await _next_chunk(response, patience)
        if not chunk:
            raise SandboxLost("The line to the sandbox ended before the file did.")
        if len(chunk) > left:
            raise AgentViolation("The sandbox's agent sent more than the file's size.")
        left -= len(chunk)
        yield chunk


async def _archive_chunks(
    response: aiohttp.ClientResponse, patience: Patience
) -> AsyncGenerator[bytes, None]:
    size = 0
    while chunk := await _next_chunk(response, patience):
        size += len(chunk)
        if size > ARCHIVE_MAX_BYTES:
            raise AgentViolation(f"The archive is over {ARCHIVE_MAX_BYTES} bytes.")
        yield chunk


async def _next_chunk(response: aiohttp.ClientResponse, patience: Patience) -> bytes:
    with line_errors():
        async with patience.waiting():
            chunk = await read_chunk(response)
    patience.moved(len(chunk))
    return chunk
