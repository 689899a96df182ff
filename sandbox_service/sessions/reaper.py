"""What only the leader does: no sandbox without a record, no record without a sandbox, counts that are true."""

import logging
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress

from sandbox_service.domain.errors import NotFound
from sandbox_service.domain.ports import SandboxBackend
from sandbox_service.domain.stores import SessionQuery, Stores
from sandbox_service.domain.tenancy import Held, Quotas
from sandbox_service.domain.values import (
    LIVE_STATUSES,
    PURPOSE,
    SandboxRef,
    SessionRecord,
    SessionStatus,
)
from sandbox_service.files.artifacts import Artifacts
from sandbox_service.sessions.adoption import Adoption
from sandbox_service.sessions.ending import SessionEnder
from sandbox_service.sessions.leader import Leader
from sandbox_service.sessions.metrics import Metrics
from sandbox_service.sessions.oversight import Oversight
from sandbox_service.sessions.pool import WarmPool
from sandbox_service.sessions.records import SessionRecords
from sandbox_service.sessions.terms import shifted

logger = logging.getLogger(__name__)

MANY = 100_000
LIVE = SessionQuery(statuses=LIVE_STATUSES, limit=MANY)
CLAIM_GRACE_S = 60.0
PURPOSE_GRACE_S = 90.0


class Reaper:
    """Compares what the store knows with what the engine runs, and removes what only one of them has.

    An orphan gets one round's grace: a start may be writing its record at this moment. One with a purpose
    of its own, on any replica, has the time for that.
    """

    def __init__(
        self,
        stores: Stores,
        records: SessionRecords,
        leader: Leader,
        backend: SandboxBackend,
        ender: SessionEnder,
        adoption: Adoption,
        pools: Sequence[WarmPool],
        artifacts: Artifacts,
        quotas: Quotas,
        metrics: Metrics,
        oversight: Oversight,
    ) -> None:
        self._stores = stores
        self._records = records
        self._leader = leader
        self._backend = backend
        self._ender = ender
        self._adoption = adoption
        self._pools = pools
        self._artifacts = artifacts
        self._quotas = quotas
        self._metrics = metrics
        self._oversight = oversight
        self._suspects: dict[str, float] = {}  # orphans, and since when
        self._left_over: list[SandboxRef] = []  # orphans that are to be stopped

    async def reap(self) -> None:
        """One round, if this replica leads."""
        if await self._leader.leads():
            await self._round(grace=True)
        else:
            self._suspects = {}

    async def settle_all(self) -> None:
        """A round without grace, when there is no other replica that could be starting anything.

        Sandboxes that nobody needs are only noted, for `stop_left_over`: there may be many.
        """
        await self._round(grace=False)

    async def stop_left_over(self) -> None:
        """Stop what `settle_all` found left over, beside serving."""
        while self._left_over:
            ref = self._left_over.pop()
            logger.warning("sandbox_reaped sandbox=%s", ref.sandbox_id)
            await self._ender.stop_sandbox(ref)

    async def shift_times(self, seconds: float) -> bool:
        """Move the times of all live sessions with a clock that jumped, if this replica leads."""
        if not await self._leader.leads():
            return False
        for record in await self._stores.sessions.list(LIVE):
            with suppress(NotFound):
                await self._records.change(record.id, lambda one: shifted(one, seconds))
        return True

    async def recount_stored(self) -> None:
        """Count what is stored anew: a replica that was killed may have counted ahead of what it kept."""
        if await self._leader.leads():
            await self._quotas.load_stored(self._artifacts.stored_bytes)

    async def read_meters(self) -> None:
        """Count what sandboxes use between their cells."""
        if self._oversight.meter.counts_cpu and await self._leader.leads():
            for record in await self._stores.sessions.list(LIVE):
                await self._oversight.read_meter(record.tenant, record.sandbox)

    async def drop_artifacts(self) -> None:
        if await self._leader.leads():
            await self._artifacts.sweep()

    async def _round(self, *, grace: bool) -> None:
        expected = await self._stores.sessions.list(LIVE)
        found = {ref.sandbox_id: ref for ref in await self._backend.find()}
        there = frozenset(ref.sandbox_id for ref in found.values() if ref.is_running)
        await self._drop_unopened(expected)
        await self._end_without_sandbox(expected, there)
        for pool in self._pools:
            await pool.drop_missing(there)
        await self._stop_orphans(found, grace=grace)
        await self._settle_quotas(grace=grace)

    async def _drop_unopened(self, records: Sequence[SessionRecord]) -> None:
        alive = await self._stores.replicas.alive()
        for record in records:
            if record.status is SessionStatus.STARTING and record.opener not in alive:
                logger.warning("opening_undone session=%s", record.id)
                await self._ender.drop_unopened(record)

    async def _end_without_sandbox(
        self, records: Sequence[SessionRecord], there: frozenset[str]
    ) -> None:
        """With something that waits or runs, the worker finds out by itself, and may know more."""
        for record in records:
            sandbox = record.sandbox
            is_gone = sandbox is not None and sandbox.sandbox_id not in there
            if record.status is SessionStatus.READY and is_gone and record.pending == 0:
                now = await self._stores.sessions.get(record.id)
                if now is not None and now.sandbox == sandbox and now.pending == 0:
                    logger.warning("sandbox_missing session=%s", record.id)
                    await self._end_lost(record)

    async def _end_lost(self, record: SessionRecord) -> None:
        try:
            await self._ender.end(record.id, SessionStatus.LOST)
        except NotFound:
            return

    async def _stop_orphans(self, found: dict[str, SandboxRef], *, grace: bool) -> None:
        orphans = frozenset(found) - await self._known_sandboxes()
        adopted = [one for one in orphans if await self._adoption.adopt(found[one])]
        orphans = orphans.difference(adopted)
        left_over = [one for one in orphans if not grace or self._has_had_grace(found[one])]
        now_s = self._records.clock.monotonic()
        self._suspects = {one: self._suspects.get(one, now_s) for one in orphans}
        self._left_over = [found[sandbox_id] for sandbox_id in left_over]
        if grace:
            await self.stop_left_over()

    def _has_had_grace(self, ref: SandboxRef) -> bool:
        since_s = self._suspects.get(ref.sandbox_id)
        if since_s is None:
            return False
        grace_s = PURPOSE_GRACE_S if PURPOSE in ref.labels else 0.0
        return self._records.clock.monotonic() - since_s >= grace_s

    async def _known_sandboxes(self) -> frozenset[str]:
        live = await self._stores.sessions.list(LIVE)
        self._metrics.sessions_live.set(len(live))
        known = {ref.sandbox_id for record in live for ref in record.sandboxes}
        for pool in self._pools:
            known |= await pool.sandbox_ids()
        return frozenset(known)

    async def _settle_quotas(self, *, grace: bool) -> None:
        """A replica that was killed gave nothing back; one that starts knows nothing of what is held."""
        sessions: defaultdict[str, set[str]] = defaultdict(set)
        executions: defaultdict[str, set[str]] = defaultdict(set)
        for record in await self._stores.sessions.list(LIVE):
            sessions[record.tenant].add(record.id)
            if record.pending:
                executions[record.tenant].update(await self._stores.work.waiting(record.id))
        grace_s = CLAIM_GRACE_S if grace else 0.0
        await self._quotas.settle(Held.SESSIONS, sessions, grace_s)
        await self._quotas.settle(Held.EXECUTIONS, executions, grace_s)
