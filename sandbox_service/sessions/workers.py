"""The workers of this replica: each runs one session's queue, in order, for as long as it has the right to."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sandbox_service.domain.beside import running_beside
from sandbox_service.domain.errors import (
    LeaseLost,
    NotFound,
    SandboxLost,
    ServiceError,
    SessionGone,
    ShuttingDown,
)
from sandbox_service.domain.patience import patiently
from sandbox_service.domain.stores import Lease, Mark
from sandbox_service.domain.tenancy import CALLER, Caller
from sandbox_service.domain.values import (
    LIVE_STATUSES,
    ExecutionRecord,
    ExecutionStatus,
    KernelStamp,
    SessionRecord,
    SessionStatus,
)
from sandbox_service.sessions.ending import SessionEnder
from sandbox_service.sessions.finishing import Finished, Finisher
from sandbox_service.sessions.metrics import Metrics
from sandbox_service.sessions.revival import Reviver
from sandbox_service.sessions.run import Run, RunTools

logger = logging.getLogger(__name__)


class Workers:
    """Runs queues. What fails for want of the store waits; what another replica took over is left to it."""

    def __init__(
        self,
        tools: RunTools,
        reviver: Reviver,
        ender: SessionEnder,
        finisher: Finisher,
        metrics: Metrics,
    ) -> None:
        self._tools = tools
        self._stores = tools.stores
        self._reviver = reviver
        self._ender = ender
        self._finisher = finisher
        self._metrics = metrics
        self._tasks: dict[Lease, asyncio.Task[None]] = {}
        self._is_closed = False

    @property
    def is_busy(self) -> bool:
        return bool(self._tasks)

    def require_open(self) -> None:
        """Raises ShuttingDown once this replica takes no new work."""
        if self._is_closed:
            raise shutting_down()

    def close(self) -> None:
        """Take no new work from now on."""
        self._is_closed = True

    def start(self, lease: Lease) -> None:
        """Work on the queue that `lease` gives the right to."""
        task = asyncio.create_task(self._work(lease))
        self._tasks[lease] = task
        task.add_done_callback(lambda _: self._tasks.pop(lease, None))

    async def take_over(self) -> None:
        """Go on with what replicas that are gone have left."""
        if not self._is_closed:
            for lease in await self._stores.work.take_over():
                logger.warning("queue_taken_over session=%s", lease.name)
                self.start(lease)

    async def aclose(self) -> None:
        """Stop working and leave the queues to others. What runs in the sandboxes goes on."""
        self.close()
        leases, tasks = list(self._tasks), list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for lease in leases:
            try:
                await self._stores.work.give_up(lease)
            except ServiceError as error:
                logger.warning("queue_not_given_up session=%s %s", lease.name, error.code)

    async def _work(self, lease: Lease) -> None:
        self._metrics.queues_worked.inc()
        try:
            while (record := await patiently(lambda: self._stores.work.head(lease))) is not None:
                await self._run(lease, record)
                if record.terms.close_session:
                    await self._close_session(record)
                if self._is_closed:  # what waits behind it is for others
                    await self._stores.work.give_up(lease)
                    return
        except LeaseLost:
            logger.info("queue_lost session=%s", lease.name)
        except Exception:
            logger.exception("worker_failed session=%s", lease.name)
            await self._stores.work.give_up(lease)
        finally:
            self._metrics.queues_worked.dec()

    async def _close_session(self, record: ExecutionRecord) -> None:
        """As its caller asked with the execution; of a crash before this the sweeper takes care."""
        terms = record.terms
        CALLER.set(Caller(record.tenant, terms.key_id, terms.address))
        try:
            await patiently(lambda: self._ender.end(record.session_id, SessionStatus.CLOSED))
        except NotFound:
            return

    async def _run(self, lease: Lease, record: ExecutionRecord) -> None:
        if not await self._may_run(lease, record):
            return
        try:
            async with self._attended(record):
                finished = await Run(lease, record, self._tools)()
        except LeaseLost:
            raise
        except ServiceError as error:
            await self._recover(lease, record, error)
        except Exception as error:
            logger.exception("execution_failed execution=%s", record.id)
            await self._recover(
                lease, record, SandboxLost("The service failed while it ran the execution."), error
            )
        else:
            await self._note(finished)

    async def _note(self, finished: Finished) -> None:
        """Behind the answer: who waits for the result has been woken, and goes first."""
        try:
            await asyncio.sleep(0)
        finally:
            self._finisher.note(finished)

    @asynccontextmanager
    async def _attended(self, record: ExecutionRecord) -> AsyncIterator[None]:
        """While it runs it is cancelled when nobody waits for it any more, if its caller asked for that."""
        if not record.terms.cancel_on_disconnect:
            yield
            return
        async with running_beside(self._cancel_unattended(record)):
            yield

    async def _cancel_unattended(self, record: ExecutionRecord) -> None:
        """Whoever was told to come back, by a process that stopped or died, has some time to do so from now."""
        seconds, was_missed = self._tools.return_s, False
        # Asked once more after a miss: while the store was away nobody could say a word.
        while (left_s := await self._attended_for(record, seconds)) or not was_missed:
            seconds, was_missed = 0.0, not left_s
            await self._tools.clock.sleep(left_s or self._tools.return_s / 3)
        logger.info("execution_unattended execution=%s", record.id)
        try:
            await self._cancel(record)
        except Exception:  # it has its time limit all the same
            logger.exception("unattended_not_cancelled execution=%s", record.id)

    async def _cancel(self, record: ExecutionRecord) -> None:
        mark = self._stores.executions.mark
        running = await patiently(lambda: mark(record.session_id, record.id, Mark.CANCELLED))
        session = await self._stores.sessions.get(record.session_id)
        if running is not None and session is not None:
            line = await self._tools.lines.to(session)
            await line.sandbox.kernel.interrupt(record.id)

    async def _attended_for(self, record: ExecutionRecord, seconds: float) -> float:
        attend = self._stores.executions.attend
        return await patiently(lambda: attend(record.session_id, record.id, seconds))

    async def _may_run(self, lease: Lease, record: ExecutionRecord) -> bool:
        """Ends the execution instead if it was cancelled, or its session has ended, in the meantime."""
        marks = await patiently(lambda: self._stores.executions.marks(lease.name, record.id))
        if record.status is ExecutionStatus.QUEUED and Mark.CANCELLED in marks:
            notice = "The execution was cancelled before it started."
            await self._finisher.end(lease, record, ExecutionStatus.INTERRUPTED, notice)
            return False
        session = await patiently(lambda: self._stores.sessions.get(lease.name))
        if session is None or session.status not in LIVE_STATUSES:
            status = SessionStatus.LOST if session is None else session.status
            await self._ender.end_executions(lease, status)
            return False
        return True

    async def _recover(
        self,
        lease: Lease,
        record: ExecutionRecord,
        error: ServiceError,
        cause: BaseException | None = None,
    ) -> None:
        """Go on with a new sandbox if memory took the old one; end the session otherwise."""
        latest = await patiently(lambda: self._stores.executions.get(record.session_id, record.id))
        record = latest or record
        try:
            session = None if cause else await self._reviver.revive(record.session_id)
        except (NotFound, SessionGone, LeaseLost):
            return  # ended by somebody, who ends its executions as well
        except ServiceError as failure:
            session, error = None, failure
        if session is not None:
            await self._end_out_of_memory(lease, record, session)
            return
        logger.warning("sandbox_lost session=%s reason=%s", record.session_id, error.message)
        await self._finisher.end(lease, record, ExecutionStatus.LOST, error.message)
        await patiently(lambda: self._ender.end(record.session_id, SessionStatus.LOST))

    async def _end_out_of_memory(
        self, lease: Lease, record: ExecutionRecord, session: SessionRecord
    ) -> None:
        """The result of an execution whose whole sandbox went for want of memory."""
        notice = (
            "The sandbox was killed because the memory limit was reached and a fresh one was started; "
            "variables and the files in /mnt/data are gone."
        )
        ended_at = session.last_active_at
        await self._finisher.end(
            lease,
            record,
            ExecutionStatus.OUT_OF_MEMORY,
            notice,
            duration_s=(ended_at - (record.started_at or ended_at)).total_seconds(),
            kernel=KernelStamp(epoch=session.epoch, state="reset"),
            session_expires_at=session.expires_at,
        )


def shutting_down() -> ShuttingDown:
    return ShuttingDown("This service process is shutting down.", retry_after_s=1)
