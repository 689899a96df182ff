"""Sessions: opened, read, extended, interrupted, restarted, closed."""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta

from sandbox_service.domain.errors import InvalidRequest, RateLimited, ServiceError
from sandbox_service.domain.ids import new_id
from sandbox_service.domain.ports import SessionQuery, WorkspaceFiles
from sandbox_service.domain.requests import OpenSession, UpdateSession
from sandbox_service.domain.values import (
    SandboxRef,
    SessionRecord,
    SessionStatus,
    Template,
)
from sandbox_service.sessions.ending import SessionEnder
from sandbox_service.sessions.executions import ExecutionService
from sandbox_service.sessions.live import LiveSession
from sandbox_service.sessions.metrics import Metrics
from sandbox_service.sessions.oversight import Oversight
from sandbox_service.sessions.provisioning import Provisioned
from sandbox_service.sessions.records import Change, SessionRecords, gone
from sandbox_service.sessions.source import SandboxSource
from sandbox_service.sessions.terms import check_range, resolve_limits, touched

logger = logging.getLogger(__name__)

LONGEST_START_S = 120.0


@dataclass(frozen=True, slots=True)
class SessionTerms:
    """Defaults and bounds for the life of sessions, in seconds."""

    idle_ttl_s: float
    idle_ttl_min_s: float
    idle_ttl_max_s: float
    max_age_s: float
    max_age_max_s: float
    max_sessions: int


class SessionService:
    """Everything a caller can do with sessions, other than run code in them."""

    def __init__(
        self,
        records: SessionRecords,
        live: dict[str, LiveSession],
        source: SandboxSource,
        ender: SessionEnder,
        executions: ExecutionService,
        templates: dict[str, Template],
        terms: SessionTerms,
        metrics: Metrics,
        oversight: Oversight,
    ) -> None:
        self._records = records
        self._oversight = oversight
        self._live = live
        self._source = source
        self._ender = ender
        self._executions = executions
        self._templates = templates
        self._terms = terms
        self._metrics = metrics
        self._opening: set[asyncio.Task[SessionRecord]] = set()

    async def open(self, tenant: str, request: OpenSession) -> SessionRecord:
        """Open a session and wait until its kernel answers.

        Raises InvalidRequest (template, limits, idle_ttl_s, max_age_s), RateLimited (too many sessions,
        or the tenant's quota), SandboxStartFailed, RuntimeUnavailable, EngineUnavailable.
        """
        template = self._template(request.template)
        record = self._new_record(tenant, request, template)
        self._require_room()
        # A task of its own: a caller that leaves must not leave a half-open session behind.
        task = asyncio.create_task(self._open(record))
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)
        return await asyncio.shield(task)

    async def _open(self, record: SessionRecord) -> SessionRecord:
        await self._oversight.claim_session(record)
        try:
            ready = await self._start(record)
        except BaseException:
            self._oversight.release_session(record)
            raise
        self._oversight.session_opened(ready)
        return ready

    async def _start(self, record: SessionRecord) -> SessionRecord:
        started = self._records.clock.monotonic()
        await self._records.store.create(record)
        try:
            provisioned = await self._source.provide(record)
        except BaseException:
            await self._records.store.delete(record.id)
            raise
        ready = await self._records.change(record.id, _as_ready(provisioned.ref, self._records))
        self._serve(ready, provisioned)
        elapsed_s = self._records.clock.monotonic() - started
        self._metrics.session_open_seconds.labels(provisioned.source).observe(elapsed_s)
        return ready

    def _serve(self, record: SessionRecord, provisioned: Provisioned) -> None:
        live = LiveSession(record.id, record.tenant, provisioned.ref, provisioned.sandbox)
        self._live[record.id] = live
        live.worker = asyncio.create_task(self._executions.work(live))

    def _require_room(self) -> None:
        if len(self._live) + len(self._opening) >= self._terms.max_sessions:
            raise RateLimited(
                f"This service runs at most {self._terms.max_sessions} sessions at once.",
                code="session_limit",
                retry_after_s=10,
            )

    def _template(self, name: str | None) -> Template:
        template = self._templates.get(name or next(iter(self._templates)))
        if template is None:
            known = ", ".join(sorted(self._templates))
            raise InvalidRequest(f"No template {name!r}; there is: {known}.", param="template")
        return template

    def _new_record(self, tenant: str, request: OpenSession, template: Template) -> SessionRecord:
        limits = resolve_limits(request.limits, template)
        idle_ttl_s = self._idle_ttl(request.idle_ttl_s)
        max_age_s = self._max_age(request.max_age_s)
        now = self._records.clock.now()
        return SessionRecord(
            id=new_id("sess"),
            tenant=tenant,
            status=SessionStatus.STARTING,
            template=template.name,
            runtime=template.runtime,
            created_at=now,
            last_active_at=now,
            idle_ttl_s=idle_ttl_s,
            max_age_s=max_age_s,
            # Idle time begins when the session is ready; until then this is how long a start may take.
            expires_at=now + timedelta(seconds=LONGEST_START_S),
            limits=limits,
            metadata=request.metadata,
        )

    def _idle_ttl(self, asked: float | None) -> float:
        if asked is None:
            return self._terms.idle_ttl_s
        terms = self._terms
        check_range("idle_ttl_s", asked, lowest=terms.idle_ttl_min_s, highest=terms.idle_ttl_max_s)
        return asked

    def _max_age(self, asked: float | None) -> float:
        if asked is None:
            return self._terms.max_age_s
        check_range("max_age_s", asked, lowest=1, highest=self._terms.max_age_max_s)
        return asked

    async def get(self, tenant: str, session_id: str) -> SessionRecord:
        """The session, live or ended. Raises NotFound."""
        return await self._records.owned(tenant, session_id)

    async def list(self, tenant: str, limit: int, after: str | None) -> Sequence[SessionRecord]:
        """The tenant's sessions, newest first."""
        return await self._records.store.list(SessionQuery(tenant, None, limit, after))

    async def update(self, tenant: str, session_id: str, request: UpdateSession) -> SessionRecord:
        """Change what is given and count activity. Raises InvalidRequest, NotFound, SessionGone."""
        await self._records.live(tenant, session_id)
        changes: dict[str, object] = {}
        if request.idle_ttl_s is not None:
            changes["idle_ttl_s"] = self._idle_ttl(request.idle_ttl_s)
        if request.max_age_s is not None:
            changes["max_age_s"] = self._max_age(request.max_age_s)
        if request.metadata is not None:
            changes["metadata"] = request.metadata
        now = self._records.clock.now()
        return await self._records.change(
            session_id, lambda record: touched(record.model_copy(update=changes), now)
        )

    async def close(self, tenant: str, session_id: str) -> SessionRecord:
        """End the session and remove its sandbox; one that already ended stays as it is."""
        await self._records.owned(tenant, session_id)
        return await self._ender.end(session_id, SessionStatus.CLOSED)

    async def interrupt(self, tenant: str, session_id: str) -> SessionRecord:
        """Interrupt what runs; nothing happens when nothing does."""
        live = await self._live_session(tenant, session_id)
        if live.current is not None:
            live.current.was_interrupted = True
            await live.sandbox.kernel.interrupt()
        return await self._records.touch(session_id)

    async def restart(self, tenant: str, session_id: str) -> SessionRecord:
        """Replace the kernel by a fresh one and raise the epoch. Files stay."""
        live = await self._live_session(tenant, session_id)
        if live.current is not None:
            live.current.was_interrupted = True
            live.current.was_killed = True
        health = await live.sandbox.kernel.health()
        incarnation = await live.sandbox.kernel.restart(health.incarnation)
        return await self._records.after_kernel_seen(live, incarnation)

    @asynccontextmanager
    async def files(self, tenant: str, session_id: str) -> AsyncIterator[WorkspaceFiles]:
        """The workspace's files, for one call; counts as activity from start to end."""
        live = await self._live_session(tenant, session_id)
        await self._records.touch(session_id)
        live.files_in_use += 1
        try:
            yield live.sandbox.files
        finally:
            live.files_in_use -= 1
            await self._touch_if_live(session_id)

    async def _touch_if_live(self, session_id: str) -> None:
        try:
            await self._records.touch(session_id)
        except ServiceError:
            logger.info("session_ended_during_transfer session=%s", session_id)

    def kernel_state(self, session_id: str) -> str:
        """starting, idle, busy, or dead when there is no sandbox."""
        live = self._live.get(session_id)
        return "dead" if live is None else live.kernel_state

    async def _live_session(self, tenant: str, session_id: str) -> LiveSession:
        record = await self._records.live(tenant, session_id)
        live = self._live.get(session_id)
        if live is None:
            raise gone(record.model_copy(update={"status": SessionStatus.LOST}))
        return live

    async def aclose(self) -> None:
        """End every session of this process and remove its sandbox."""
        for task in list(self._opening):
            task.cancel()
        await asyncio.gather(*self._opening, return_exceptions=True)
        ends = [
            self._ender.end(session_id, SessionStatus.CLOSED) for session_id in list(self._live)
        ]
        await asyncio.gather(*ends, return_exceptions=True)


def _as_ready(ref: SandboxRef, records: SessionRecords) -> Change:
    now = records.clock.now()

    def change(record: SessionRecord) -> SessionRecord:
        ready = {"status": SessionStatus.READY, "sandbox": ref}
        return touched(record.model_copy(update=ready), now)

    return change
