"""Sessions: opened, read, extended, interrupted, restarted, closed."""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta

from sandbox_service.domain.errors import Conflict, InvalidRequest, ServiceError, Unavailable
from sandbox_service.domain.ids import new_id
from sandbox_service.domain.patience import patiently
from sandbox_service.domain.ports import WorkspaceFiles
from sandbox_service.domain.requests import OpenSession, UpdateSession
from sandbox_service.domain.stores import Mark, SessionQuery, Stores
from sandbox_service.domain.values import (
    LIVE_STATUSES,
    SandboxRef,
    SessionRecord,
    SessionStatus,
    Template,
)
from sandbox_service.sessions.adoption import Adoption
from sandbox_service.sessions.ending import SessionEnder
from sandbox_service.sessions.lines import SandboxLines
from sandbox_service.sessions.metrics import Metrics
from sandbox_service.sessions.oversight import Oversight
from sandbox_service.sessions.records import (
    Change,
    SessionRecords,
    require_live,
    require_same_opening,
)
from sandbox_service.sessions.source import SandboxSource
from sandbox_service.sessions.terms import check_range, resolve_limits, touched
from sandbox_service.sessions.workers import Workers, shutting_down

logger = logging.getLogger(__name__)

LONGEST_START_S = 120.0
JOIN_STEP_S = 0.05
LONGEST_TOUCH_PAUSE_S = 10.0
UNDO_WAIT_S = 1.0
MANY = 100_000


@dataclass(frozen=True, slots=True)
class SessionTerms:
    """Defaults and bounds for the life of sessions, in seconds."""

    idle_ttl_s: float
    idle_ttl_min_s: float
    idle_ttl_max_s: float
    max_age_s: float
    max_age_max_s: float


class SessionService:
    """Everything a caller can do with sessions, other than run code in them."""

    def __init__(
        self,
        stores: Stores,
        records: SessionRecords,
        lines: SandboxLines,
        source: SandboxSource,
        ender: SessionEnder,
        workers: Workers,
        adoption: Adoption,
        templates: dict[str, Template],
        terms: SessionTerms,
        metrics: Metrics,
        oversight: Oversight,
    ) -> None:
        self._stores = stores
        self._records = records
        self._lines = lines
        self._source = source
        self._ender = ender
        self._workers = workers
        self._adoption = adoption
        self._templates = templates
        self._terms = terms
        self._metrics = metrics
        self._oversight = oversight
        self._opening: set[asyncio.Task[SessionRecord]] = set()
        self._undoing: set[asyncio.Task[None]] = set()

    async def open(
        self, tenant: str, request: OpenSession, session_id: str | None = None
    ) -> SessionRecord:
        """Open a session and wait until its kernel answers; with a `session_id` once.

        Raises InvalidRequest (template, limits, idle_ttl_s, max_age_s), RateLimited (too many sessions,
        or the tenant's quota), SandboxStartFailed, RuntimeUnavailable, EngineUnavailable, ShuttingDown.
        """
        template = self._template(request.template)
        record = self._new_record(tenant, request, template, session_id)
        if session_id is not None and await self._stores.sessions.get(session_id) is not None:
            return await self._join(session_id)
        self._workers.require_open()
        await self._source.require_room(request.limits, template)
        # A task of its own: a caller that leaves must not leave a half-open session behind.
        task = asyncio.create_task(self._open(record))
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if task.cancelled():  # by the stop of this process, not by the caller's leaving
                raise shutting_down() from None
            raise

    @property
    def is_opening(self) -> bool:
        return bool(self._opening)

    async def _open(self, record: SessionRecord) -> SessionRecord:
        await self._oversight.claim_session(record)
        try:
            await self._records.store.create(record)
        except Conflict:
            return await self._join(record.id)
        try:
            ready = await self._start(record)
        except BaseException:
            await self._undo(record)
            raise
        self._oversight.session_opened(ready)
        return ready

    async def _undo(self, record: SessionRecord) -> None:
        """Take the opening back; while the store is away in the background, as long as it takes."""
        undoing = asyncio.create_task(patiently(lambda: self._take_back(record)))
        self._undoing.add(undoing)
        undoing.add_done_callback(self._undoing.discard)
        await asyncio.wait({undoing}, timeout=UNDO_WAIT_S)

    async def _take_back(self, record: SessionRecord) -> None:
        """Remove what this opening holds, unless another replica has done so, and opened anew."""
        stored = await self._records.store.get(record.id)
        if stored is not None and stored.opening == record.opening:
            await self._records.store.delete(record.id)
            await self._oversight.release_session(record)

    async def _join(self, session_id: str) -> SessionRecord:
        """The session that another call opens at this moment. Raises Unavailable when that fails."""
        while True:
            record = await self._stores.sessions.get(session_id)
            if record is None:
                raise Unavailable(
                    "The first call with this key failed. Try again.", retry_after_s=1
                )
            if record.status is not SessionStatus.STARTING:
                return record
            if record.opener not in await self._stores.replicas.alive():
                await self._ender.drop_unopened(record)
            await asyncio.sleep(JOIN_STEP_S)

    async def _start(self, record: SessionRecord) -> SessionRecord:
        started = self._records.clock.monotonic()
        provisioned = await self._source.provide(record)
        try:
            ready = await self._records.change(record.id, self._as_ready(record, provisioned.ref))
        except BaseException:
            await provisioned.sandbox.close()
            await self._ender.stop_sandbox(provisioned.ref)
            raise
        self._lines.put(record.id, provisioned.ref, provisioned.sandbox)
        await self._oversight.read_meter(
            ready.tenant, ready.sandbox
        )  # its start is not the tenant's
        await self._adoption.label(ready)
        elapsed_s = self._records.clock.monotonic() - started
        self._metrics.session_open_seconds.labels(provisioned.source).observe(elapsed_s)
        return ready

    def _as_ready(self, opening: SessionRecord, ref: SandboxRef) -> Change:
        now = self._records.clock.now()

        def change(record: SessionRecord) -> SessionRecord:
            require_live(record)
            require_same_opening(record, opening)
            ready = {"status": SessionStatus.READY, "sandbox": ref, "starting": None}
            return touched(record.model_copy(update=ready), now)

        return change

    def _template(self, name: str | None) -> Template:
        template = self._templates.get(name or next(iter(self._templates)))
        if template is None:
            known = ", ".join(sorted(self._templates))
            raise InvalidRequest(f"No template {name!r}; there is: {known}.", param="template")
        return template

    def _new_record(
        self, tenant: str, request: OpenSession, template: Template, session_id: str | None
    ) -> SessionRecord:
        limits = resolve_limits(request.limits, template)
        idle_ttl_s = self._idle_ttl(request.idle_ttl_s)
        max_age_s = self._max_age(request.max_age_s)
        now = self._records.clock.now()
        return SessionRecord(
            id=session_id or new_id("sess"),
            tenant=tenant,
            opening=new_id("opening"),
            opener=self._stores.replicas.id,
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

        def change(record: SessionRecord) -> SessionRecord:
            require_live(record)  # it may have ended since it was looked at
            return touched(record.model_copy(update=changes), now)

        changed = await self._records.change(session_id, change)
        await self._adoption.label(changed)
        return changed

    async def close(self, tenant: str, session_id: str) -> SessionRecord:
        """End the session and remove its sandbox; one that already ended stays as it is."""
        await self._records.owned(tenant, session_id)
        return await self._ender.end(session_id, SessionStatus.CLOSED)

    async def interrupt(self, tenant: str, session_id: str) -> SessionRecord:
        """Interrupt what runs; nothing happens when nothing does."""
        record = await self._records.live(tenant, session_id)
        running = await self._stores.executions.mark(session_id, None, Mark.INTERRUPTED)
        if running is not None:
            line = await self._lines.to(record)
            await line.sandbox.kernel.interrupt(running)
        return await self._records.touch(session_id)

    async def restart(self, tenant: str, session_id: str) -> SessionRecord:
        """Replace the kernel by a fresh one and raise the epoch. Files stay."""
        record = await self._records.live(tenant, session_id)
        line = await self._lines.to(record)
        await self._stores.executions.mark(session_id, None, Mark.KILLED)
        # That kernel and no other: the same call twice must not kill the fresh one.
        incarnation = await line.sandbox.kernel.restart(record.incarnation)
        restarted = await self._records.after_kernel_seen(session_id, incarnation)
        await self._adoption.label(restarted)
        return restarted

    @asynccontextmanager
    async def files(self, tenant: str, session_id: str) -> AsyncIterator[WorkspaceFiles]:
        """The workspace's files, for one call; counts as activity from start to end."""
        line = await self._lines.to(await self._records.live(tenant, session_id))
        record = await self._records.touch(session_id)
        touching = asyncio.create_task(self._keep_alive(record))
        try:
            yield line.sandbox.files
        finally:
            touching.cancel()
            with suppress(ServiceError):  # the session ended during the transfer
                await self._records.touch(session_id)

    async def _keep_alive(self, record: SessionRecord) -> None:
        """Count activity again and again, as long as bytes flow."""
        while True:
            await asyncio.sleep(min(LONGEST_TOUCH_PAUSE_S, record.idle_ttl_s / 3))
            try:
                await self._records.touch(record.id)
            except ServiceError as error:
                logger.info("transfer_not_noted session=%s %s", record.id, error.code)

    async def aclose(self) -> None:
        """Stop what is being opened: its callers are told, and nothing of it stays."""
        for task in list(self._opening):
            task.cancel()
        await asyncio.gather(*self._opening, return_exceptions=True)
        for undoing in self._undoing:  # what the store could not be told, the others find
            undoing.cancel()

    async def end_all(self) -> None:
        """End every session of all tenants, and remove the sandboxes."""
        live = SessionQuery(statuses=LIVE_STATUSES, limit=MANY)
        ends = [
            self._ender.end(record.id, SessionStatus.CLOSED)
            for record in await self._stores.sessions.list(live)
        ]
        await asyncio.gather(*ends, return_exceptions=True)
