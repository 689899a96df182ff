"""The sweeps: idle and aged sessions are culled, orphaned sandboxes reaped, old records and artifacts dropped."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta

from sandbox_service.domain.errors import ServiceError
from sandbox_service.domain.ports import SandboxBackend, SessionQuery
from sandbox_service.domain.values import LIVE_STATUSES, SessionRecord, SessionStatus
from sandbox_service.files.artifacts import Artifacts
from sandbox_service.sessions.ending import SessionEnder
from sandbox_service.sessions.history import ExecutionHistory
from sandbox_service.sessions.live import LiveSession
from sandbox_service.sessions.pool import WarmPool
from sandbox_service.sessions.records import SessionRecords
from sandbox_service.sessions.terms import is_too_old

logger = logging.getLogger(__name__)

BATCH = 100
MANY = 100_000


@dataclass(frozen=True, slots=True)
class SweepTimes:
    """How often each sweep runs, and how long ended sessions stay readable."""

    cull_every_s: float
    reap_every_s: float
    record_retention_s: float


class Sweeper:
    """Runs the sweeps until it is cancelled. A sweep that fails is logged and comes again."""

    def __init__(
        self,
        records: SessionRecords,
        live: dict[str, LiveSession],
        ender: SessionEnder,
        history: ExecutionHistory,
        backend: SandboxBackend,
        artifacts: Artifacts,
        pools: Sequence[WarmPool],
        times: SweepTimes,
    ) -> None:
        self._records = records
        self._live = live
        self._ender = ender
        self._history = history
        self._backend = backend
        self._artifacts = artifacts
        self._pools = pools
        self._times = times
        self._suspects: frozenset[str] = frozenset()

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._repeat(self.cull, self._times.cull_every_s))
            group.create_task(self._repeat(self.reap, self._times.reap_every_s))
            group.create_task(self._repeat(self._artifacts.sweep, self._times.reap_every_s))

    async def _repeat(self, sweep: Callable[[], Awaitable[object]], every_s: float) -> None:
        while True:
            await self._records.clock.sleep(every_s)
            try:
                await sweep()
            except ServiceError as error:
                logger.warning("sweep_failed reason=%s", error.message)
            except Exception:
                logger.exception("sweep_failed")

    async def cull(self) -> None:
        """End the sessions whose time is over; drop the records of those that ended long ago."""
        now = self._records.clock.now()
        ended_before = now - timedelta(seconds=self._times.record_retention_s)
        due = await self._records.store.due(now, ended_before, BATCH)
        await asyncio.gather(*(self._settle(record) for record in due))

    async def _settle(self, record: SessionRecord) -> None:
        if record.status not in LIVE_STATUSES:
            self._history.forget(record.id)
            await self._records.store.delete(record.id)
        elif self._is_in_use(record):
            await self._records.touch(record.id)
        else:
            logger.info("session_expired session=%s", record.id)
            await self._ender.end(record.id, SessionStatus.EXPIRED)

    def _is_in_use(self, record: SessionRecord) -> bool:
        live = self._live.get(record.id)
        is_busy = live is not None and live.is_busy
        return is_busy and not is_too_old(record, self._records.clock.now())

    async def reap(self) -> None:
        """Stop sandboxes that no record knows, and end sessions whose sandbox is gone.

        Sandboxes have one round's grace: a start may be writing its record.
        """
        expected = [(live, live.ref.sandbox_id) for live in self._live.values()]
        found = {ref.sandbox_id: ref for ref in await self._backend.find()}
        known = await self._known_sandboxes()
        await self._end_sessions_without_sandbox(expected, frozenset(found))
        orphans = frozenset(found) - known
        for sandbox_id in orphans & self._suspects:
            logger.warning("sandbox_reaped sandbox=%s", sandbox_id)
            await self._backend.stop(found[sandbox_id])
        self._suspects = orphans

    async def _end_sessions_without_sandbox(
        self, expected: Sequence[tuple[LiveSession, str]], found: frozenset[str]
    ) -> None:
        for live, sandbox_id in expected:
            if sandbox_id not in found and live.ref.sandbox_id == sandbox_id:
                logger.warning("sandbox_missing session=%s", live.session_id)
                await self._ender.end(live.session_id, SessionStatus.LOST)

    async def reap_all_strays(self) -> None:
        """At start, before any session is opened: what is there without a record is left over."""
        known = await self._known_sandboxes()
        strays = [ref for ref in await self._backend.find() if ref.sandbox_id not in known]
        await asyncio.gather(*(self._backend.stop(ref) for ref in strays))

    async def _known_sandboxes(self) -> frozenset[str]:
        live = await self._records.store.list(SessionQuery(None, LIVE_STATUSES, MANY))
        of_sessions = {record.sandbox.sandbox_id for record in live if record.sandbox}
        return frozenset(of_sessions).union(*(pool.sandbox_ids for pool in self._pools))
