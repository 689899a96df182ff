"""Artifacts: the files that executions made, fetched out of the sandbox and kept until a time."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, suppress
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
    max_session_files: int = 10_000
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
        try:
            room = await self._room_for(owner)
        except ServiceError as error:
            return Collected(notices=(f"No file was kept as an artifact: {error.message}",))
        wanted = changed[: max(0, room.files)]
        collection = _Collection(self._blobs, self._bounds, files)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._fetch(collection, f, owner)) for f in wanted]
        results = [task.result() for task in tasks]
        fetched = [result for result in results if isinstance(result, _Fetched)]
        notices = [result for result in results if isinstance(result, str)]
        kept = await self._keep(fetched, owner.tenant)
        return Collected(
            kept.records, (*notices, *kept.notices, *room.notice(len(changed) - len(wanted)))
        )

    async def _room_for(self, owner: ArtifactOwner) -> "_FileRoom":
        """What one more execution may add, and by which bound."""
        counts = await self._catalog.counts(owner.tenant, owner.session_id)
        of_session, of_tenant = (
            self._bounds.max_session_files,
            self._quotas.most_files(owner.tenant),
        )
        rooms = [
            _FileRoom(self._bounds.max_files, f"an execution keeps {self._bounds.max_files}"),
            _FileRoom(of_session - counts.of_session, f"a session keeps {of_session}"),
        ]
        if of_tenant is not None:
            rooms.append(_FileRoom(of_tenant - counts.of_tenant, f"this tenant keeps {of_tenant}"))
        return min(rooms, key=lambda room: room.files)

    async def _fetch(
        self, collection: "_Collection", file: ChangedFile, owner: ArtifactOwner
    ) -> "_Fetched | str":
        room, fetched = Room(self._quotas, owner.tenant), None
        try:
            blob = await collection.fetch(file, new_id(ID_PREFIX), room)
            fetched = _Fetched(self._record(blob, file, owner), room)
            return fetched
        except ServiceError as error:
            return _not_kept(display_path(file.path), error)
        finally:
            if fetched is None:
                room.settle(0)

    async def _keep(self, fetched: "Sequence[_Fetched]", tenant: str) -> Collected:
        """Record them all at once; without its record no file stays."""
        records, is_kept = [one.record for one in fetched], False
        try:
            if records:
                await self._catalog.add(records, self._quotas.most_files(tenant))
            is_kept = True
            return Collected(tuple(records))
        except ServiceError as error:
            return Collected(notices=tuple(_not_kept(record.path, error) for record in records))
        finally:
            for one in fetched:
                one.room.settle(one.record.size if is_kept else 0)
            if not is_kept:
                await self._take_back(records)

    async def _take_back(self, records: Sequence[ArtifactRecord]) -> None:
        """Also records that were added while the caller was cancelled; what the disk refuses is a stray."""
        for record in records:
            with suppress(ServiceError):
                await self._blobs.delete(record.id)
        with suppress(ServiceError):
            await self._catalog.delete([record.id for record in records])

    def _record(self, blob: Blob, file: ChangedFile, owner: ArtifactOwner) -> ArtifactRecord:
        now = self._clock.now()
        return ArtifactRecord(
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
        """Drop the artifact; one that is gone stays gone."""
        await self._drop([record])

    async def _drop(self, records: Sequence[ArtifactRecord]) -> None:
        """The bytes before the record: what has no record is not found again."""
        for record in records:
            await self._blobs.delete(record.id)
        known = await self._catalog.delete([record.id for record in records])
        for record in records:
            if record.id in known:
                self._quotas.discard(record.tenant, record.size)

    async def stored_bytes(self) -> Mapping[str, int]:
        """How much each tenant has stored."""
        return await self._catalog.sizes()

    async def sweep(self) -> int:
        """Drop what has expired; returns how many."""
        dropped = 0
        while due := await self._catalog.due(self._clock.now(), _SWEEP_BATCH):
            await self._drop(due)
            dropped += len(due)
        if dropped:
            logger.info("artifacts_expired count=%d", dropped)
        return dropped


@dataclass(frozen=True, slots=True)
class _FileRoom:
    """For how many files there is room, and what bounds it."""

    files: int
    bound: str

    def notice(self, left_out: int) -> tuple[str, ...]:
        if left_out == 0:
            return ()
        return (f"{left_out} more files changed; {self.bound} as artifacts.",)


@dataclass(frozen=True, slots=True)
class _Fetched:
    """A file whose bytes are stored, with the room that it takes, and no record yet."""

    record: ArtifactRecord
    room: Room


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


def _not_kept(path: str, error: ServiceError) -> str:
    reason = "It is gone." if isinstance(error, NotFound) else error.message
    return f"{path} was not kept as an artifact: {reason}"
