"""One execution on its way through the kernel, from its first line to its final record."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from sandbox_service.domain.errors import AgentViolation, NotFound, SandboxLost, ServiceError
from sandbox_service.domain.ports import (
    Clock,
    ExecuteRequest,
    ExecutionEnd,
    ExecutionLine,
    SandboxBackend,
)
from sandbox_service.domain.values import (
    ExecutionRecord,
    ExecutionStatus,
    KernelStamp,
    SandboxState,
    SessionRecord,
)
from sandbox_service.files.artifacts import ArtifactOwner, Artifacts
from sandbox_service.kernels.outputs import OutputChange, OutputReducer
from sandbox_service.sessions.ladder import InterruptLadder
from sandbox_service.sessions.live import LiveSession, QueuedExecution
from sandbox_service.sessions.outcome import SIGKILL, Circumstances, death_notice, outcome
from sandbox_service.sessions.records import SessionRecords
from sandbox_service.sessions.terms import touched

logger = logging.getLogger(__name__)

MAX_OUTPUTS = 2000
RESUME_ATTEMPTS = 3
ABANDON_AFTER_S = 10.0
OOM_WORD_TRIES = 10
OOM_WORD_STEP_S = 0.05


@dataclass(frozen=True, slots=True)
class RunTools:
    """What every run needs from the rooms around it."""

    records: SessionRecords
    backend: SandboxBackend
    artifacts: Artifacts
    clock: Clock
    interrupt_grace_s: float


class Run:
    """Runs one queued execution on its session's kernel and fills its journal.

    Raises SandboxLost or AgentViolation when the sandbox cannot be used further; the journal is then
    left unfinished for the caller to end.
    """

    def __init__(self, live: LiveSession, item: QueuedExecution, tools: RunTools) -> None:
        self._live = live
        self._item = item
        self._tools = tools
        self._journal = item.journal
        self._reducer = OutputReducer(item.output_bytes, MAX_OUTPUTS)
        self._notices: list[str] = []
        self._passed_deadline = False
        self._ladder: asyncio.Task[None] | None = None

    async def __call__(self) -> None:
        await self._start()
        started = self._tools.clock.monotonic()
        try:
            end = await self._run_to_end()
        finally:
            self._journal.record = self._with_outputs()
        duration_s = self._tools.clock.monotonic() - started
        status = await self._judge(end)
        if self._reducer.truncated:
            self._notices.append(_cut_notice(self._item.output_bytes))
        await self._collect_artifacts(end)
        await self._finish(end, status, duration_s)

    async def _start(self) -> None:
        now = self._tools.clock.now()
        epoch_before: int | None = None

        def begin(record: SessionRecord) -> SessionRecord:
            nonlocal epoch_before
            epoch_before = record.last_run_epoch
            return touched(record, now).model_copy(update={"last_run_epoch": record.epoch})

        session = await self._tools.records.change(self._live.session_id, begin)
        self._known_epoch = session.epoch if epoch_before is None else epoch_before
        self._journal.start(
            self._journal.record.model_copy(
                update={
                    "status": ExecutionStatus.RUNNING,
                    "started_at": now,
                    "kernel": self._stamp(session.epoch),
                    "session_expires_at": session.expires_at,
                }
            )
        )

    def _stamp(self, epoch: int) -> KernelStamp:
        return KernelStamp(epoch=epoch, state="kept" if epoch == self._known_epoch else "reset")

    async def _run_to_end(self) -> ExecutionEnd:
        loop = asyncio.get_running_loop()
        deadline = loop.call_later(self._item.timeout_s, self._climb_ladder)
        try:
            async with asyncio.timeout(None) as self._patience:
                return await self._read_lines()
        except TimeoutError:
            raise AgentViolation("The execution did not end after its kernel was killed.") from None
        finally:
            deadline.cancel()
            if self._ladder is not None:
                self._ladder.cancel()

    async def _read_lines(self) -> ExecutionEnd:
        async with aclosing(self._lines()) as lines:
            async for line in lines:
                if isinstance(line, ExecutionEnd):
                    self._publish(self._reducer.settle())
                    return line
                self._publish(self._reducer.apply(line))
        raise SandboxLost("The line to the sandbox ended early.")

    def _publish(self, changes: Sequence[OutputChange]) -> None:
        for change in changes:
            payload = {"action": change.action, "index": change.index, "output": change.output}
            self._journal.add_output(payload)

    async def _lines(self) -> AsyncGenerator[ExecutionLine, None]:
        """The lines of the execution, each once, across broken connections."""
        record = self._journal.record
        request = ExecuteRequest(record.id, record.code, self._item.output_bytes)
        kernel = self._live.sandbox.kernel
        source, seen = kernel.execute(request), 0
        for attempt in range(RESUME_ATTEMPTS):
            try:
                async with aclosing(source) as lines:
                    async for line in lines:
                        if line.seq > seen:
                            seen = line.seq
                            yield line
                        if isinstance(line, ExecutionEnd):
                            return
            except AgentViolation:
                raise
            except NotFound:
                source = kernel.execute(request)
            except SandboxLost:
                await self._require_running(attempt)
                source = kernel.resume(record.id, seen)
        raise SandboxLost("The line to the sandbox broke and could not be taken up again.")

    async def _require_running(self, attempt: int) -> None:
        report = await self._tools.backend.report(self._live.ref)
        if report.state is not SandboxState.RUNNING:
            raise SandboxLost(f"The sandbox has {report.state.value}.")
        await self._tools.clock.sleep(0.1 * attempt)

    def _climb_ladder(self) -> None:
        self._passed_deadline = True
        self._ladder = asyncio.create_task(self._climb())

    async def _climb(self) -> None:
        tools = self._tools
        ladder = InterruptLadder(
            self._live.sandbox.kernel, tools.clock, tools.interrupt_grace_s, self._notices.append
        )
        try:
            await ladder.climb(self._note_kill)
        except ServiceError as error:
            self._notices.append(error.message)
        self._patience.reschedule(asyncio.get_running_loop().time() + ABANDON_AFTER_S)

    def _note_kill(self) -> None:
        self._item.was_killed = True

    async def _judge(self, end: ExecutionEnd) -> ExecutionStatus:
        engine_saw_oom = end.reason == "kernel_died" and await self._engine_saw_oom(end)
        status = outcome(
            end,
            Circumstances(
                reply_status=self._reducer.reply_status,
                passed_deadline=self._passed_deadline,
                was_interrupted=self._item.was_interrupted,
                engine_saw_oom=engine_saw_oom,
            ),
        )
        if end.reason == "kernel_died":
            self._notices.append(death_notice(end, status))
        elif status is not ExecutionStatus.OK:
            await self._has_new_oom_kill()  # of a process that the code started, not of the kernel
        return status

    async def _engine_saw_oom(self, end: ExecutionEnd) -> bool:
        """Ask the engine; its word on memory can come a moment after the kernel's death."""
        if end.exit_signal != SIGKILL:
            return False
        if self._item.was_killed:
            await self._has_new_oom_kill()  # what it says is old news from now on
            return False
        for _ in range(OOM_WORD_TRIES):
            if await self._has_new_oom_kill():
                return True
            await self._tools.clock.sleep(OOM_WORD_STEP_S)
        return False

    async def _has_new_oom_kill(self) -> bool:
        """Whether the engine has counted one since it was asked last."""
        try:
            report = await self._tools.backend.report(self._live.ref)
        except ServiceError as error:
            logger.warning("engine_did_not_say session=%s %s", self._live.session_id, error.code)
            return False
        is_new = report.oom_kills > self._live.oom_kills
        self._live.oom_kills = report.oom_kills
        return is_new

    async def _collect_artifacts(self, end: ExecutionEnd) -> None:
        self._artifacts = []
        if end.changes_truncated:
            self._notices.append("More files changed than are listed as artifacts.")
        if not end.changed:
            return
        record = self._journal.record
        owner = ArtifactOwner(record.tenant, record.session_id, record.id)
        collected = await self._tools.artifacts.collect(
            self._live.sandbox.files, end.changed, owner
        )
        self._artifacts = list(collected.records)
        self._notices.extend(collected.notices)
        for artifact in self._artifacts:
            self._journal.add_artifact(artifact)

    async def _finish(self, end: ExecutionEnd, status: ExecutionStatus, duration_s: float) -> None:
        session = await self._tools.records.after_kernel_seen(self._live, end.incarnation)
        self._journal.finish(self._final(status, duration_s, session))

    def _with_outputs(self) -> ExecutionRecord:
        return self._journal.record.model_copy(
            update={
                "execution_count": self._reducer.execution_count,
                "outputs": self._reducer.outputs,
                "truncated": self._reducer.truncated,
            }
        )

    def _final(
        self, status: ExecutionStatus, duration_s: float, session: SessionRecord
    ) -> ExecutionRecord:
        return self._journal.record.model_copy(
            update={
                "status": status,
                "artifacts": self._artifacts,
                "notices": self._notices,
                "duration_s": duration_s,
                "kernel": self._stamp(session.epoch),
                "session_expires_at": session.expires_at,
            }
        )


def _cut_notice(output_bytes: int) -> str:
    return f"Output was cut: one execution shows at most {output_bytes} bytes and {MAX_OUTPUTS} outputs."
