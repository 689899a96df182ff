"""Artifacts: the files that executions made, fetched out of the sandbox and kept until a time."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

from sandbox_service.domain.errors import (
    NotFound,
    NotYours,
    SandboxLost,
    ServiceError,
    SessionGone,
    TooLarge,
)
from sandbox_service.domain.ids import looks_like, new_id
from sandbox_service.domain.names import display_path
from sandbox_service.domain.ports import (
    ArtifactCatalog,
    Blob,
    BlobStore,
    ChangedFile,
    Clock,
    FileStream,
    WorkspaceFiles,
)
from sandbox_service.domain.tenancy import NoQuotas, Quotas
from sandbox_service.domain.values import MIB, ArtifactRecord
from sandbox_service.files.media_types import media_type_of
from sandbox_service.files.room import Room

logger = logging.getLogger(__name__)

T = TypeVar("T")
ID_PREFIX = "art"
_SWEEP_BATCH = 200


@dataclass(frozen=True, slots=True)
class ArtifactOwner:
    """Whose execution made the files."""

    tenant: str
    session_id: str
    execution_id: str


@dataclass(frozen=True, slots=True)
class ArtifactBounds:
    """What is kept of one execution's files, and for how long.

    A sandbox has `grace_s` to hand them over, and a second more for each `slowest_bytes_per_s` that came.
    """

    retention_s: float = 7 * 86_400.0
    max_bytes: int = 512 * MIB
    max_total_bytes: int = 4096 * MIB
    max_files: int = 100
    at_once: int = 4
    grace_s: float = 30.0
    slowest_bytes_per_s: int = 4 * MIB


@dataclass(frozen=True, slots=True)
class Collected:
    """The files that were kept, in the order given, and a sentence on each that was not."""

    records: tuple[ArtifactRecord, ...] = ()
    notices: tuple[str, ...] = ()


class Artifacts:
    """Collects, finds, opens and drops artifacts."""

    def __init__(
        self,
        blobs: BlobStore,
        catalog: ArtifactCatalog,
        clock: Clock,
        bounds: ArtifactBounds | None = None,
        quotas: Quotas | None = None,
    ) -> None:
        self._blobs = blobs
        self._catalog = catalog
        self._clock = clock
        self._bounds = bounds or ArtifactBounds()
        self._quotas = quotas or NoQuotas()

    async def collect(
        self, files: WorkspaceFiles, changed: Sequence[ChangedFile], owner: ArtifactOwner
    ) -> Collected:
        """Keep the changed files. What cannot be kept is a notice, never an exception."""
        if not changed:
            return Collected()
        wanted = changed[: self._bounds.max_files]
        collection = _Collection(self._blobs, self._bounds, files)
        async with asyncio.TaskGroup() as group:
            kept = [group.create_task(self._keep(collection, f, owner)) for f in wanted]
        results = [task.result() for task in kept]
        notices = [result for result in results if isinstance(result, str)]
        if len(changed) > len(wanted):
            rest = len(changed) - len(wanted)
            notices.append(
                f"{rest} more files changed; an execution keeps {len(wanted)} as artifacts."
            )
        records = tuple(result for result in results if isinstance(result, ArtifactRecord))
        return Collected(records, tuple(notices))

    async def _keep(
        self, collection: "_Collection", file: ChangedFile, owner: ArtifactOwner
    ) -> ArtifactRecord | str:
        room, kept_bytes = Room(self._quotas, owner.tenant), 0
        try:
            blob = await collection.fetch(file, new_id(ID_PREFIX), room)
            record = await self._record(blob, file, owner)
            kept_bytes = record.size
            return record
        except ServiceError as error:
            return f"{display_path(file.path)} was not kept as an artifact: {_reason(error)}"
        finally:
            room.settle(kept_bytes)

    async def _record(self, blob: Blob, file: ChangedFile, owner: ArtifactOwner) -> ArtifactRecord:
        now = self._clock.now()
        record = ArtifactRecord(
            id=blob.key,
            tenant=owner.tenant,
            session_id=owner.session_id,
            execution_id=owner.execution_id,
            path=display_path(file.path),
            size=blob.size,
            media_type=media_type_of(file.path),
            sha256=blob.sha256,
            created_at=now,
            expires_at=now + timedelta(seconds=self._bounds.retention_s),
        )
        try:
            await self._catalog.add(record)
        except BaseException:
            await self._blobs.delete(blob.key)
            raise
        return record

    async def get(self, tenant: str | None, artifact_id: str) -> ArtifactRecord:
        """The artifact's record; `tenant` None for who holds a link to this very one.

        Raises NotFound for an unknown one and another tenant's, SessionGone (`artifact_expired`).
        """
        is_id = looks_like(ID_PREFIX, artifact_id)
        record = await self._catalog.get(artifact_id) if is_id else None
        if record is None or (tenant is not None and record.tenant != tenant):
            kind = NotFound if record is None else NotYours
            raise kind("No such artifact.", param="artifact_id")
        if record.expires_at <= self._clock.now():
            raise SessionGone("The artifact's retention has ended.", code="artifact_expired")
        return record

    def open(
        self, record: ArtifactRecord, first: int = 0
    ) -> AbstractAsyncContextManager[FileStream]:
        """The artifact's bytes from number `first` on. Raises NotFound when they are gone."""
        return self._blobs.open(record.id, first)

    async def delete(self, record: ArtifactRecord) -> None:
        """Drop the artifact, the bytes before the record; one that is gone stays gone."""
        await self._blobs.delete(record.id)
        if await self._catalog.delete(record.id):
            self._quotas.discard(record.tenant, record.size)

    async def stored_bytes(self) -> Mapping[str, int]:
        """How much each tenant has stored."""
        return await self._catalog.sizes()

    async def sweep(self) -> int:
        """Drop what has expired; returns how many."""
        dropped = 0
        while due := await self._catalog.due(self._clock.now(), _SWEEP_BATCH):
            for record in due:
                await self.delete(record)
            dropped += len(due)
        if dropped:
            logger.info("artifacts_expired count=%d", dropped)
        return dropped


class _Collection:
    """Fetches the files of one execution, a few at a time, within the bytes and the time for all of them."""

    def __init__(self, blobs: BlobStore, bounds: ArtifactBounds, files: WorkspaceFiles) -> None:
        self._blobs = blobs
        self._files = files
        self._max_bytes = bounds.max_bytes
        self._left = bounds.max_total_bytes
        self._turns = asyncio.Semaphore(bounds.at_once)  # bounds the open lines to the agent
        self._ends_at = asyncio.get_running_loop().time() + bounds.grace_s
        self._slowest_bytes_per_s = bounds.slowest_bytes_per_s

    async def fetch(self, file: ChangedFile, key: str, room: Room) -> Blob:
        """The size that the agent names only ever refuses early; the bytes are what counts."""
        if file.size > self._max_bytes:
            raise TooLarge(f"The file is larger than {self._max_bytes} bytes.")
        await room.cover(file.size)
        async with self._turns, AsyncExitStack() as stack:
            opening = stack.enter_async_context(self._files.read(file.path))
            chunks = (await self._in_time(opening)).chunks
            return await self._blobs.put(key, self._counted(chunks, room), self._max_bytes)

    async def _counted(self, chunks: AsyncIterator[bytes], room: Room) -> AsyncIterator[bytes]:
        size = 0
        while chunk := await self._in_time(anext(chunks, b"")):
            size += len(chunk)
            self._ends_at += len(chunk) / self._slowest_bytes_per_s
            await room.cover(size)
            self._left -= len(chunk)
            if self._left < 0:
                raise TooLarge("The execution's files are too large in all.")
            yield chunk

    async def _in_time(self, step: Awaitable[T]) -> T:
        try:
            async with asyncio.timeout_at(self._ends_at):
                return await step
        except TimeoutError:
            raise SandboxLost("The sandbox took too long to hand it over.") from None


def _reason(error: ServiceError) -> str:
    return "It is gone." if isinstance(error, NotFound) else error.message
