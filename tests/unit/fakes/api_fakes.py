"""The rooms below the API, in memory: they keep what they are given and run what they are told."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
from fastapi import FastAPI
from prometheus_client import CollectorRegistry

from sandbox_service.api.app import create_api
from sandbox_service.api.auth import Keys
from sandbox_service.api.services import Services
from sandbox_service.api.streams import Pace
from sandbox_service.domain.clock import SystemClock
from sandbox_service.domain.errors import (
    InvalidRequest,
    NotFound,
    NotYours,
    SandboxLost,
    ServiceError,
    SessionGone,
    WorkspaceFull,
)
from sandbox_service.domain.ids import new_id
from sandbox_service.domain.ports import FileStream, WorkspaceFiles
from sandbox_service.domain.requests import ExecuteCode, OpenSession, UpdateSession
from sandbox_service.domain.stores import OnceStore
from sandbox_service.domain.tenancy import NoQuotas, Quotas
from sandbox_service.domain.values import (
    LIVE_STATUSES,
    ArtifactRecord,
    ExecutionEvent,
    ExecutionRecord,
    ExecutionStatus,
    ExecutionTerms,
    FileEntry,
    KernelStamp,
    Limits,
    SessionRecord,
    SessionStatus,
)
from sandbox_service.files.links import Links
from sandbox_service.settings import Settings
from sandbox_service.store.bounds import StoreBounds
from sandbox_service.store.memory.opening import MemoryOnceStore
from sandbox_service.store.memory.tables import Tables
from sandbox_service.tenants.keyring import Keyring

NOW = datetime.now(UTC).replace(microsecond=0)
ALICE_KEY, BOB_KEY = "alice-key", "bob-key"


class MemoryFiles:
    """A workspace with room for `capacity_bytes`."""

    def __init__(self, capacity_bytes: int = 1 << 20) -> None:
        self.contents: dict[str, bytes] = {}
        self.capacity_bytes = capacity_bytes

    async def list(self, prefix: str = "") -> Sequence[FileEntry]:
        return [_entry(p, self.contents[p]) for p in sorted(self.contents) if p.startswith(prefix)]

    @asynccontextmanager
    async def read(self, path: str) -> AsyncIterator[FileStream]:
        content = self._content(path)
        yield FileStream(len(content), _chunks(content))

    async def write(self, path: str, chunks: AsyncIterator[bytes]) -> FileEntry:
        content = b"".join([chunk async for chunk in chunks])
        if sum(map(len, self.contents.values())) + len(content) > self.capacity_bytes:
            raise WorkspaceFull("The workspace has no room for this file.")
        self.contents[path] = content
        return _entry(path, content)

    async def delete(self, path: str) -> None:
        self._content(path)
        del self.contents[path]

    @asynccontextmanager
    async def archive(self) -> AsyncIterator[AsyncIterator[bytes]]:
        yield _chunks(b"".join(self.contents.values()))

    def _content(self, path: str) -> bytes:
        if path not in self.contents:
            raise NotFound("No such file.", param="path")
        return self.contents[path]


class BreaksWhileRead(MemoryFiles):
    """Announces a file and loses its sandbox after the first bytes of it."""

    @asynccontextmanager
    async def read(self, path: str) -> AsyncIterator[FileStream]:
        async def chunks() -> AsyncIterator[bytes]:
            yield b"first"
            raise SandboxLost("The sandbox went away.")

        yield FileStream(1000, chunks())


class MemorySessions:
    """Sessions that are what their callers made of them."""

    def __init__(self) -> None:
        self.records: dict[str, SessionRecord] = {}
        self.workspaces: dict[str, WorkspaceFiles] = {}
        self.refusal: Exception | None = None

    async def open(
        self, tenant: str, request: OpenSession, session_id: str | None = None
    ) -> SessionRecord:
        if self.refusal is not None:
            raise self.refusal
        if session_id in self.records:
            return self.records[session_id]
        record = _session(tenant, request, session_id or new_id("sess"))
        self.records[record.id] = record
        self.workspaces[record.id] = MemoryFiles()
        return record

    async def get(self, tenant: str, session_id: str) -> SessionRecord:
        record = self.records.get(session_id)
        if record is None or record.tenant != tenant:
            kind = NotFound if record is None else NotYours
            raise kind(f"No session {session_id}.", param="session_id")
        return record

    async def list(self, tenant: str, limit: int, after: str | None) -> Sequence[SessionRecord]:
        mine = [record for record in reversed(self.records.values()) if record.tenant == tenant]
        ids = [record.id for record in mine]
        start = ids.index(after) + 1 if after is not None else 0
        return mine[start : start + limit]

    async def update(self, tenant: str, session_id: str, request: UpdateSession) -> SessionRecord:
        return self._put(
            await self.live(tenant, session_id), **request.model_dump(exclude_none=True)
        )

    async def close(self, tenant: str, session_id: str) -> SessionRecord:
        return self._put(await self.get(tenant, session_id), status=SessionStatus.CLOSED)

    async def interrupt(self, tenant: str, session_id: str) -> SessionRecord:
        return await self.live(tenant, session_id)

    async def restart(self, tenant: str, session_id: str) -> SessionRecord:
        record = await self.live(tenant, session_id)
        return self._put(record, epoch=record.epoch + 1)

    @asynccontextmanager
    async def files(self, tenant: str, session_id: str) -> AsyncIterator[WorkspaceFiles]:
        await self.live(tenant, session_id)
        yield self.workspaces[session_id]

    def expire(self, session_id: str) -> None:
        self._put(self.records[session_id], status=SessionStatus.EXPIRED)

    async def live(self, tenant: str, session_id: str) -> SessionRecord:
        record = await self.get(tenant, session_id)
        if record.status not in LIVE_STATUSES:
            raise SessionGone(f"The session is {record.status}.", code=f"session_{record.status}")
        return record

    def _put(self, record: SessionRecord, **changes: object) -> SessionRecord:
        self.records[record.id] = record.model_copy(update=changes)
        return self.records[record.id]


@dataclass
class Cell:
    """What a code does: prints its lines, then ends. A held one waits for `release`."""

    lines: Sequence[str] = ("hello\n",)
    artifact: ArtifactRecord | None = None
    failure: Exception | None = None
    is_held: bool = False
    release: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass
class _Journal:
    record: ExecutionRecord
    cell: Cell
    events: list[ExecutionEvent] = field(default_factory=list)
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)


class ScriptedExecutions:
    """Runs each code as the cell written for it."""

    def __init__(self, sessions: MemorySessions) -> None:
        self._sessions = sessions
        self.cells: dict[str, Cell] = {}
        self.journals: dict[str, _Journal] = {}
        self.cancelled: list[str] = []
        self.attended: list[str] = []
        self.refusal: ServiceError | None = None

    async def submit(
        self,
        tenant: str,
        session_id: str,
        request: ExecuteCode,
        execution_id: str | None = None,
    ) -> ExecutionRecord:
        if self.refusal is not None:
            raise self.refusal
        if execution_id in self.journals:
            return (await self._find(tenant, session_id, execution_id)).record
        session = await self._sessions.live(tenant, session_id)
        queued = _queued(session, request, execution_id or new_id("exec"))
        journal = _Journal(queued, self.cells.get(request.code, Cell()))
        self.journals[journal.record.id] = journal
        if not journal.cell.is_held:
            self._play(journal)
        return journal.record

    async def wait(self, tenant: str, session_id: str, execution_id: str) -> ExecutionRecord:
        journal = await self._find(tenant, session_id, execution_id)
        await self._finish(journal)
        if journal.cell.failure is not None:
            raise journal.cell.failure
        return journal.record

    async def get(self, tenant: str, session_id: str, execution_id: str) -> ExecutionRecord:
        return (await self._find(tenant, session_id, execution_id)).record

    async def events(
        self, tenant: str, session_id: str, execution_id: str, after: int = 0
    ) -> AsyncIterator[ExecutionEvent]:
        journal = await self._find(tenant, session_id, execution_id)
        await self._finish(journal)
        for event in journal.events[after:]:
            if event.type == "execution.completed" and journal.cell.failure is not None:
                raise journal.cell.failure
            yield event

    async def history(
        self, tenant: str, session_id: str, limit: int | None = None, after: str | None = None
    ) -> Sequence[ExecutionRecord]:
        await self._sessions.get(tenant, session_id)
        records = [journal.record for journal in self.journals.values()]
        records = [record for record in records if record.session_id == session_id]
        ids = [record.id for record in records]
        if after is not None and after not in ids:
            raise NotFound(f"No execution {after}.", param="after")
        return records[0 if after is None else ids.index(after) + 1 :][:limit]

    async def attend(self, record: ExecutionRecord) -> None:
        self.attended.append(record.id)

    async def cancel(self, tenant: str, session_id: str, execution_id: str) -> None:
        self.cancelled.append(execution_id)

    async def _find(self, tenant: str, session_id: str, execution_id: str) -> _Journal:
        await self._sessions.get(tenant, session_id)
        journal = self.journals.get(execution_id)
        if journal is None or journal.record.session_id != session_id:
            raise NotFound(f"No execution {execution_id}.", param="execution_id")
        return journal

    async def _finish(self, journal: _Journal) -> None:
        if journal.cell.is_held:
            await journal.cell.release.wait()
        if not journal.events:
            self._play(journal)

    def _play(self, journal: _Journal) -> None:
        cell, record = journal.cell, journal.record
        text = "".join(cell.lines)
        output = {"output_type": "stream", "name": "stdout", "text": text}
        final = record.model_copy(
            update={
                "status": ExecutionStatus.OK,
                "outputs": [output],
                "artifacts": [cell.artifact] if cell.artifact else [],
                "execution_count": 1,
                "started_at": NOW,
                "duration_s": 0.5,
            }
        )
        journal.record = final
        journal.events = list(_events(record, final, cell))


def _events(
    queued: ExecutionRecord, final: ExecutionRecord, cell: Cell
) -> Sequence[ExecutionEvent]:
    payloads: list[tuple[Any, Any]] = [("execution.started", queued)]
    for line in cell.lines:
        output = {"output_type": "stream", "name": "stdout", "text": line}
        payloads.append(("output", {"action": "append", "index": 0, "output": output}))
    if cell.artifact is not None:
        payloads.append(("artifact", cell.artifact))
    payloads.append(("execution.completed", final))
    return [
        ExecutionEvent(id=number, type=kind, payload=payload)
        for number, (kind, payload) in enumerate(payloads, start=1)
    ]


class MemoryArtifacts:
    """Artifacts with their bytes."""

    def __init__(self) -> None:
        self._kept: dict[str, tuple[ArtifactRecord, bytes]] = {}

    async def delete(self, record: ArtifactRecord) -> None:
        self._kept.pop(record.id, None)

    def keep(self, tenant: str, path: str, content: bytes, media_type: str) -> ArtifactRecord:
        record = ArtifactRecord(
            id=new_id("art"),
            tenant=tenant,
            session_id="sess_1",
            execution_id="exec_1",
            path=path,
            size=len(content),
            media_type=media_type,
            sha256=hashlib.sha256(content).hexdigest(),
            created_at=NOW,
            expires_at=NOW + timedelta(days=7),
        )
        self._kept[record.id] = (record, content)
        return record

    async def get(self, tenant: str | None, artifact_id: str) -> ArtifactRecord:
        record, _ = self._kept.get(artifact_id, (None, b""))
        if record is None or tenant not in (None, record.tenant):
            kind = NotFound if record is None else NotYours
            raise kind(f"No artifact {artifact_id}.", param="artifact_id")
        return record

    @asynccontextmanager
    async def open(self, record: ArtifactRecord, first: int = 0) -> AsyncIterator[FileStream]:
        content = self._kept[record.id][1][first:]
        yield FileStream(len(content), _chunks(content))


class MemoryLinkMarks:
    """The times of revocations, in a dictionary."""

    def __init__(self) -> None:
        self._times: dict[str, int] = {}

    def of(self, artifact_id: str) -> int:
        return self._times.get(artifact_id, 0)

    def renew(self, artifact_id: str, now_us: int) -> None:
        self._times[artifact_id] = now_us


class MemoryAudit:
    """An audit log to look at."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []

    def record(self, event: str, /, **details: object) -> None:
        self.events.append({"event": event, **details})

    def of(self, event: str) -> list[dict[str, Any]]:
        return [entry for entry in self.events if entry["event"] == event]


@dataclass
class World:
    """Everything below the API, to look at and to change."""

    settings: Settings
    sessions: MemorySessions = field(default_factory=MemorySessions)
    artifacts: MemoryArtifacts = field(default_factory=MemoryArtifacts)
    links: Links = field(default_factory=lambda: Links(b"k" * 32, SystemClock(), MemoryLinkMarks()))
    registry: CollectorRegistry = field(default_factory=CollectorRegistry)
    reasons: list[str] = field(default_factory=list)
    keys: Keys = field(default_factory=lambda: Keyring([("alice", ALICE_KEY), ("bob", BOB_KEY)]))
    quotas: Quotas = field(default_factory=NoQuotas)
    audit: MemoryAudit = field(default_factory=MemoryAudit)
    once: OnceStore = field(default_factory=lambda: memory_once())
    pace: Pace = field(default_factory=lambda: Pace(keepalive_s=0.05))

    def __post_init__(self) -> None:
        self.executions = ScriptedExecutions(self.sessions)
        self._app: FastAPI | None = None

    def app(self) -> FastAPI:
        """The API over this world, the same with every call."""
        self._app = self._app or create_api(self.services())
        return self._app

    def client(self, app: FastAPI, key: str | None = ALICE_KEY) -> httpx.AsyncClient:
        """A client from another machine."""
        transport = httpx.ASGITransport(app, client=("192.0.2.1", 1234))
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        return httpx.AsyncClient(transport=transport, base_url="http://api.test", headers=headers)

    def services(self) -> Services:
        return Services(
            settings=self.settings,
            keys=self.keys,
            sessions=self.sessions,
            executions=self.executions,
            artifacts=self.artifacts,
            links=self.links,
            registry=self.registry,
            posture=self._posture,
            readiness=self._readiness,
            once=self.once,
            pace=self.pace,
            quotas=self.quotas,
            audit=self.audit,
        )

    async def _posture(self, tenant: str) -> dict[str, Any]:
        return {"backend": "memory"}

    async def _readiness(self) -> list[str]:
        return self.reasons


class Caller:
    """One HTTP request to an ASGI app, whose answer is seen as it is sent and which can hang up."""

    def __init__(self, app: FastAPI, method: str, path: str, **parts: Any) -> None:
        self._app = app
        self._scope = _scope(method, path, parts.get("headers", {}))
        self._incoming: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._sent: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        for chunk in parts.get("body", [b""]):
            self._incoming.put_nowait({"type": "http.request", "body": chunk, "more_body": True})
        if not parts.get("hangs_up_in_body", False):
            self._incoming.put_nowait({"type": "http.request", "body": b"", "more_body": False})

    async def __aenter__(self) -> "Caller":
        call = self._app(self._scope, self._incoming.get, self._sent.put)
        self.task = asyncio.create_task(call)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.task.cancel()
        await asyncio.wait({self.task})

    async def next(self) -> dict[str, Any]:
        """The next message that the app sends."""
        return await asyncio.wait_for(self._sent.get(), 60)

    async def next_text(self) -> str:
        return str((await self.next())["body"].decode())

    async def hang_up(self) -> None:
        """Leaves, and waits until the app is done with the request."""
        self._incoming.put_nowait({"type": "http.disconnect"})
        await asyncio.wait_for(self.task, 60)

    def has_more(self) -> bool:
        return not self._sent.empty()


def _scope(method: str, path: str, headers: dict[str, str]) -> dict[str, Any]:
    sent = {"host": "api.test", "authorization": f"Bearer {ALICE_KEY}", **headers}
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(name.encode(), value.encode()) for name, value in sent.items()],
        "client": ("192.0.2.1", 1234),
        "server": ("api.test", 80),
    }


def small_settings() -> Settings:
    """Limits so low that a test reaches them."""
    return Settings(max_code_bytes=1000, max_upload_bytes=5000)


def memory_once() -> OnceStore:
    """What is known of requests with a key, in memory."""
    return MemoryOnceStore(Tables(StoreBounds(), None), SystemClock())


def _session(tenant: str, request: OpenSession, session_id: str) -> SessionRecord:
    if request.template not in (None, "python"):
        raise InvalidRequest(f"There is no template {request.template}.", param="template")
    idle_ttl_s = request.idle_ttl_s or 3600.0
    return SessionRecord(
        id=session_id,
        tenant=tenant,
        status=SessionStatus.READY,
        template="python",
        runtime="runc",
        created_at=NOW,
        last_active_at=NOW,
        idle_ttl_s=idle_ttl_s,
        max_age_s=request.max_age_s or 86_400.0,
        expires_at=NOW + timedelta(seconds=idle_ttl_s),
        limits=Limits(**request.limits.model_dump(exclude_none=True)),
        metadata=request.metadata,
    )


def _queued(session: SessionRecord, request: ExecuteCode, execution_id: str) -> ExecutionRecord:
    return ExecutionRecord(
        id=execution_id,
        session_id=session.id,
        tenant=session.tenant,
        status=ExecutionStatus.QUEUED,
        created_at=NOW,
        code=request.code,
        terms=ExecutionTerms(
            close_session=request.close_session,
            cancel_on_disconnect=request.cancel_on_disconnect,
        ),
        kernel=KernelStamp(epoch=session.epoch, state="kept"),
        session_expires_at=session.expires_at,
    )


def _entry(path: str, content: bytes) -> FileEntry:
    return FileEntry(path=path, type="file", size=len(content), modified_at=NOW)


async def _chunks(content: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(content), 1024):
        yield content[start : start + 1024]
