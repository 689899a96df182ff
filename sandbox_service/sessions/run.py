"""One execution on its way through the kernel, from its first line to its final record."""

import asyncio
import logging
from collections.abc import Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass

from sandbox_service.domain.errors import AgentViolation, SandboxLost, ServiceError
from sandbox_service.domain.names import display_path
from sandbox_service.domain.patience import patiently
from sandbox_service.domain.ports import (
    Clock,
    ExecutionEnd,
    ExecutionLine,
    KernelMessage,
    MessageGap,
    SandboxBackend,
)
from sandbox_service.domain.stores import EventPage, Lease, Mark, Stores
from sandbox_service.domain.values import (
    ArtifactRecord,
    ExecutionRecord,
    ExecutionStatus,
    KernelStamp,
    SandboxReport,
    SessionRecord,
)
from sandbox_service.files.artifacts import ArtifactOwner, Artifacts
from sandbox_service.kernels.outputs import OutputChange, OutputReducer
from sandbox_service.sessions.finishing import Finished
from sandbox_service.sessions.journal import JournalWriter, read_all
from sandbox_service.sessions.ladder import InterruptLadder
from sandbox_service.sessions.lines import Line, SandboxLines
from sandbox_service.sessions.outcome import SIGKILL, Circumstances, death_notice, outcome
from sandbox_service.sessions.oversight import Oversight
from sandbox_service.sessions.reading import BrokenLine, ExecutionReader, connect
from sandbox_service.sessions.records import SessionRecords
from sandbox_service.sessions.terms import touched

logger = logging.getLogger(__name__)

MAX_OUTPUTS = 2000
ABANDON_AFTER_S = 10.0
LADDER_STEPS = 5
OOM_WORD_TRIES = 60
OOM_WORD_STEP_S = 0.05


@dataclass(frozen=True, slots=True)
class RunTools:
    """What every run needs from the rooms around it."""

    stores: Stores
    records: SessionRecords
    backend: SandboxBackend
    lines: SandboxLines
    artifacts: Artifacts
    clock: Clock
    interrupt_grace_s: float
    oversight: Oversight
    return_s: float = 30.0


class Run:
    """Runs the first execution of a queue on its session's kernel and fills its journal.

    One that is running already was begun by a replica that is gone: the agent tells its lines again, and
    the journal leaves out what it has. Raises SandboxLost or AgentViolation when the sandbox cannot be used
    further, with the execution left unfinished for the caller to end; LeaseLost when it is another's now.
    """

    _line: Line

    def __init__(self, lease: Lease, record: ExecutionRecord, tools: RunTools) -> None:
        self._tools = tools
        self._begun = record
        self._is_resumed = record.status is ExecutionStatus.RUNNING
        self._known_epoch: int | None = None
        self._told = EventPage((), is_final=False, last_id=0)
        self._writer = JournalWriter(tools.stores.journals, lease, record)
        self._reducer = OutputReducer(record.terms.output_bytes, MAX_OUTPUTS)
        self._broken = BrokenLine(tools.backend)
        self._notices: list[str] = []
        self._passed_deadline = False
        self._has_killed = False
        self._ladder: asyncio.Task[None] | None = None
        self._early: asyncio.Task[None] | None = None  # one, however often it is told to have begun

    async def __call__(self) -> Finished:
        with self._writer.running():
            await self._start()
            started = self._tools.clock.monotonic() - self._elapsed_s()
            end = await self._run_to_end()
            duration_s = self._bounded(self._tools.clock.monotonic() - started)
            status = await self._judge(end)
            if self._reducer.truncated:
                self._notices.append(_cut_notice(self._begun.terms.output_bytes))
            artifacts = await self._collect_artifacts(end)
            session = await patiently(
                lambda: self._tools.records.after_kernel_seen(
                    self._begun.session_id, end.incarnation
                )
            )
            final = self._final(status, duration_s, session, artifacts)
            await self._tools.oversight.read_meter(final.tenant, self._line.ref)
            await self._tools.oversight.release_execution(final)
            return Finished(final, await self._writer.finish(final))

    def _bounded(self, duration_s: float) -> float:
        """When nobody looked for a while, the code has not run for longer than it may."""
        longest_s = self._begun.terms.timeout_s + LADDER_STEPS * self._tools.interrupt_grace_s
        return min(duration_s, longest_s + ABANDON_AFTER_S)

    async def _start(self) -> None:
        session = await patiently(self._begin)
        if self._is_resumed:
            self._told = await patiently(lambda: read_all(self._tools.stores.journals, self._begun))
            self._writer.start(self._begun)
        else:
            changes = {
                "status": ExecutionStatus.RUNNING,
                "started_at": self._tools.clock.now(),
                "kernel": self._stamp(session.epoch),
                "session_expires_at": session.expires_at,
            }
            self._writer.start(self._begun.model_copy(update=changes))
        await self._writer.flush()  # nothing is started by who has lost the right to
        self._line = await connect(session, self._tools.lines, self._broken)

    async def _begin(self) -> SessionRecord:
        """Note the epoch that this execution runs on, and remember the one that its caller knows."""
        now, session_id = self._tools.clock.now(), self._begun.session_id
        if self._is_resumed:
            kernel = self._begun.kernel
            self._known_epoch = kernel.epoch if kernel.state == "kept" else None
            return await self._tools.records.change(session_id, lambda record: record)

        def begin(record: SessionRecord) -> SessionRecord:
            self._known_epoch = self._known_epoch or record.last_run_epoch or record.epoch
            if record.last_run_epoch == record.epoch:
                return record
            return touched(record, now).model_copy(update={"last_run_epoch": record.epoch})

        return await self._tools.records.change(session_id, begin)

    def _stamp(self, epoch: int) -> KernelStamp:
        return KernelStamp(epoch=epoch, state="kept" if epoch == self._known_epoch else "reset")

    def _elapsed_s(self) -> float:
        """How long it has run under a replica that is gone."""
        if not self._is_resumed or self._begun.started_at is None:
            return 0.0
        return max(0.0, (self._tools.clock.now() - self._begun.started_at).total_seconds())

    async def _run_to_end(self) -> ExecutionEnd:
        loop = asyncio.get_running_loop()
        left_s = self._begun.terms.timeout_s - self._elapsed_s()
        self._passed_deadline = left_s <= 0
        deadline = loop.call_later(max(0.0, left_s), self._climb_ladder)
        try:
            async with asyncio.timeout(None) as self._patience:
                return await self._read_lines()
        except TimeoutError:
            raise AgentViolation("The execution did not end after its kernel was killed.") from None
        finally:
            deadline.cancel()
            for task in (self._ladder, self._early):
                if task is not None:
                    task.cancel()

    async def _read_lines(self) -> ExecutionEnd:
        reader = ExecutionReader(self._line, self._begun, self._broken)
        async with aclosing(reader.lines()) as lines:
            async for line in lines:
                if isinstance(line, ExecutionEnd):
                    self._publish(self._reducer.settle())
                    return line
                if isinstance(line, MessageGap) and line.reason == "ring":
                    self._writer.realign(self._told.last_id)
                self._publish(self._reducer.apply(line))
                if self._early is None and _has_begun(line):
                    self._early = asyncio.create_task(self._repeat_early_interrupt())
        raise SandboxLost("The line to the sandbox ended early.")

    async def _repeat_early_interrupt(self) -> None:
        """One that was asked for before the kernel was at this code has hit nothing."""
        with suppress(ServiceError):
            marks = self._tools.stores.executions.marks
            if {Mark.INTERRUPTED, Mark.CANCELLED} & await marks(
                self._begun.session_id, self._begun.id
            ):
                await self._line.sandbox.kernel.interrupt(self._begun.id)

    def _publish(self, changes: Sequence[OutputChange]) -> None:
        for change in changes:
            payload = {"action": change.action, "index": change.index, "output": change.output}
            self._writer.add_output(payload)

    def _climb_ladder(self) -> None:
        self._passed_deadline = True
        self._ladder = asyncio.create_task(self._climb())

    async def _climb(self) -> None:
        tools = self._tools
        ladder = InterruptLadder(
            self._line.sandbox.kernel, self._begun.id, tools.interrupt_grace_s, self._notices.append
        )
        try:
            await ladder.climb(self._note_kill)
        except ServiceError as error:
            self._notices.append(error.message)
        self._patience.reschedule(asyncio.get_running_loop().time() + ABANDON_AFTER_S)

    def _note_kill(self) -> None:
        self._has_killed = True

    async def _judge(self, end: ExecutionEnd) -> ExecutionStatus:
        if end.reason == "finished" and self._reducer.reply_status == "ok":
            return outcome(end, Circumstances("ok", self._passed_deadline))
        marks = await patiently(
            lambda: self._tools.stores.executions.marks(self._begun.session_id, self._begun.id)
        )
        was_killed = self._has_killed or Mark.KILLED in marks
        around = Circumstances(
            reply_status=self._reducer.reply_status,
            passed_deadline=self._passed_deadline,
            was_interrupted=bool(marks),
            engine_saw_oom=await self._engine_saw_oom(end, was_killed=was_killed),
        )
        status = outcome(end, around)
        if end.reason == "kernel_died":
            self._notices.append(death_notice(end, status))
        return status

    async def _engine_saw_oom(self, end: ExecutionEnd, *, was_killed: bool) -> bool:
        """Ask the engine; its word on memory can come a while after the kernel's death, but it comes."""
        is_by_us = end.reason == "finished" or was_killed
        for _ in range(OOM_WORD_TRIES):
            report = await self._engine_report()
            if report is None:
                return False
            is_new = report.oom_kills > self._line.oom_kills
            self._line.oom_kills = report.oom_kills
            if is_by_us or end.exit_signal != SIGKILL:
                return False  # a process that the code started: old news from now on
            if is_new or report.is_counted_at_once:
                return is_new
            await self._tools.clock.sleep(OOM_WORD_STEP_S)
        return False

    async def _engine_report(self) -> SandboxReport | None:
        try:
            return await self._tools.backend.report(self._line.ref)
        except ServiceError as error:
            logger.warning("engine_did_not_say session=%s %s", self._begun.session_id, error.code)
            return None

    async def _collect_artifacts(self, end: ExecutionEnd) -> list[ArtifactRecord]:
        if end.changes_truncated:
            self._notices.append("More files changed than are listed as artifacts.")
        record = self._begun
        told = [e.payload for e in self._told.events if isinstance(e.payload, ArtifactRecord)]
        paths = {artifact.path for artifact in told}
        owner = ArtifactOwner(record.tenant, record.session_id, record.id)
        changed = [file for file in end.changed if display_path(file.path) not in paths]
        collected = await self._tools.artifacts.collect(self._line.sandbox.files, changed, owner)
        self._notices.extend(collected.notices)
        artifacts = [*told, *collected.records]
        for artifact in artifacts:
            self._writer.add_artifact(artifact)
        return artifacts

    def _final(
        self,
        status: ExecutionStatus,
        duration_s: float,
        session: SessionRecord,
        artifacts: list[ArtifactRecord],
    ) -> ExecutionRecord:
        return self._writer.record.model_copy(
            update={
                "status": status,
                "execution_count": self._reducer.execution_count,
                "outputs": self._reducer.outputs,
                "truncated": self._reducer.truncated,
                "artifacts": artifacts,
                "notices": self._notices,
                "duration_s": duration_s,
                "kernel": self._stamp(session.epoch),
                "session_expires_at": session.expires_at,
            }
        )


def _has_begun(line: ExecutionLine) -> bool:
    """Whether the kernel says that it is at the code now."""
    return isinstance(line, KernelMessage) and line.msg_type == "execute_input"


def _cut_notice(output_bytes: int) -> str:
    return f"Output was cut: one execution shows at most {output_bytes} bytes and {MAX_OUTPUTS} outputs."
