"""The sweeps of each replica: go on with what lost ones left, cull what is idle or aged."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta

from sandbox_service.domain.errors import NotFound, ServiceError
from sandbox_service.domain.stores import SessionQuery, Stores
from sandbox_service.domain.values import LIVE_STATUSES, SessionRecord, SessionStatus
from sandbox_service.sessions.clock_watch import ClockWatch
from sandbox_service.sessions.ending import SessionEnder
from sandbox_service.sessions.lines import SandboxLines
from sandbox_service.sessions.reaper import Reaper
from sandbox_service.sessions.records import SessionRecords
from sandbox_service.sessions.terms import is_due
from sandbox_service.sessions.workers import Workers

logger = logging.getLogger(__name__)

BATCH = 100
MANY = 100_000
LINES_EVERY_S = 30.0
RECOUNT_EVERY_S = 600.0
JUMP_GRACE_S = 10.0


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
        stores: Stores,
        records: SessionRecords,
        lines: SandboxLines,
        workers: Workers,
        ender: SessionEnder,
        reaper: Reaper,
        times: SweepTimes,
    ) -> None:
        self._stores = stores
        self._records = records
        self._lines = lines
        self._workers = workers
        self._ender = ender
        self._reaper = reaper
        self._times = times
        self._watch = ClockWatch(records.clock)
        self._cull_after = float("-inf")

    async def begin(self) -> None:
        """Before the first request: what the processes before this one left is adopted or removed."""
        await self._stores.replicas.beat()
        if await self._stores.replicas.alive() == {self._stores.replicas.id}:
            await self._reaper.settle_all()
        await self._workers.take_over()

    async def run(self) -> None:
        times = self._times
        async with asyncio.TaskGroup() as group:
            group.create_task(self._once(self._reaper.stop_left_over))
            group.create_task(self._repeat(self._workers.take_over, times.cull_every_s))
            group.create_task(self._repeat(self.cull, times.cull_every_s))
            group.create_task(self._repeat(self._reaper.reap, times.reap_every_s))
            group.create_task(self._repeat(self._reaper.read_meters, times.reap_every_s))
            group.create_task(self._repeat(self._reaper.drop_artifacts, times.reap_every_s))
            group.create_task(self._repeat(self._reaper.recount_stored, RECOUNT_EVERY_S))
            group.create_task(self._repeat(self._close_lines, LINES_EVERY_S))

    async def _repeat(self, sweep: Callable[[], Awaitable[object]], every_s: float) -> None:
        while True:
            await self._records.clock.sleep(every_s)
            await self._once(sweep)

    async def _once(self, sweep: Callable[[], Awaitable[object]]) -> None:
        try:
            await sweep()
        except ServiceError as error:
            logger.warning("sweep_failed sweep=%s reason=%s", sweep.__name__, error.message)
        except Exception:
            logger.exception("sweep_failed sweep=%s", sweep.__name__)

    async def cull(self) -> None:
        """End the sessions whose time is over; drop the records of those that ended long ago."""
        if not await self._times_are_true():
            return
        now = self._records.clock.now()
        ended_before = now - timedelta(seconds=self._times.record_retention_s)
        due = await self._records.store.due(now, ended_before, BATCH)
        await asyncio.gather(*(self._settle(record) for record in due))

    async def _times_are_true(self) -> bool:
        """After a jump of the clock the leader moves all times by it; the others wait until it has."""
        jump_s = self._watch.jump_s()
        if jump_s:
            logger.warning("clock_jumped seconds=%.1f", jump_s)
            if not await self._reaper.shift_times(jump_s):
                self._cull_after = self._records.clock.monotonic() + JUMP_GRACE_S
        return self._records.clock.monotonic() >= self._cull_after

    async def _settle(self, record: SessionRecord) -> None:
        try:
            if record.status not in LIVE_STATUSES:
                await self._records.store.delete(record.id)
            elif record.status is SessionStatus.STARTING:
                logger.warning("opening_undone session=%s", record.id)
                await self._ender.drop_unopened(record)
            elif is_due(record, self._records.clock.now()):
                status = SessionStatus.CLOSED if record.is_closing else SessionStatus.EXPIRED
                ended = await self._ender.end(record.id, status)
                logger.info("session_%s session=%s", ended.status.value, record.id)
            else:
                await self._records.touch(record.id)
        except NotFound:
            return  # another replica was first

    async def _close_lines(self) -> None:
        opened = self._lines.session_ids  # before the list: what opens meanwhile is not in it
        live = await self._records.store.list(SessionQuery(None, LIVE_STATUSES, MANY))
        await self._lines.close_all(opened - {record.id for record in live})
