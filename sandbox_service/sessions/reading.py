"""The lines of one execution, each once, however often the line to the sandbox breaks."""

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass

from sandbox_service.domain.errors import (
    AgentViolation,
    EngineUnavailable,
    NotFound,
    SandboxLost,
)
from sandbox_service.domain.ports import (
    ExecuteRequest,
    ExecutionEnd,
    ExecutionLine,
    SandboxBackend,
)
from sandbox_service.domain.values import (
    ExecutionRecord,
    SandboxRef,
    SandboxState,
    SessionRecord,
)
from sandbox_service.sessions.lines import Line, SandboxLines

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LinePatience:
    """For how long a broken line is tried again: while the engine says that the sandbox runs, and while
    the engine says nothing."""

    sandbox_runs_s: float = 60.0
    engine_is_away_s: float = 120.0
    shortest_pause_s: float = 0.05
    longest_pause_s: float = 1.0


class BrokenLine:
    """Decides, each time that the line to one sandbox breaks, whether to try again."""

    def __init__(self, backend: SandboxBackend, patience: LinePatience | None = None) -> None:
        self._backend = backend
        self._patience = patience or LinePatience()
        self._pause_s = self._patience.shortest_pause_s
        self._since: float | None = None

    def is_whole(self) -> None:
        """Something came over the line."""
        self._since = None

    async def pause(self, ref: SandboxRef, error: SandboxLost) -> None:
        """Wait before the next try. Raises SandboxLost when there is no sense in one."""
        now = asyncio.get_running_loop().time()
        if self._since is None:
            self._since, self._pause_s = now, self._patience.shortest_pause_s
        if now - self._since > await self._limit_s(ref):
            raise error
        await asyncio.sleep(self._pause_s)
        self._pause_s = min(self._patience.longest_pause_s, 2 * self._pause_s)

    async def _limit_s(self, ref: SandboxRef) -> float:
        """Raises SandboxLost when the engine says that the sandbox is gone."""
        try:
            report = await self._backend.report(ref)
        except EngineUnavailable as error:
            logger.warning("engine_did_not_say sandbox=%s %s", ref.sandbox_id, error)
            return self._patience.engine_is_away_s
        if report.state is not SandboxState.RUNNING:
            raise SandboxLost(f"The sandbox has {report.state.value}.")
        return self._patience.sandbox_runs_s


async def connect(session: SessionRecord, lines: SandboxLines, broken: BrokenLine) -> Line:
    """The line to the session's sandbox. Raises SandboxLost when there is none to be had."""
    while True:
        try:
            return await lines.to(session)
        except SandboxLost as error:
            if session.sandbox is None:
                raise
            await broken.pause(session.sandbox, error)


class ExecutionReader:
    """Starts the code, and comes back for its lines while the engine says that the sandbox runs."""

    def __init__(self, line: Line, record: ExecutionRecord, broken: BrokenLine) -> None:
        self._line = line
        self._broken = broken
        self._request = ExecuteRequest(record.id, record.code, record.terms.output_bytes)
        self._seen = 0

    async def lines(self) -> AsyncGenerator[ExecutionLine, None]:
        """Every line up to ExecutionEnd. Raises SandboxLost, AgentViolation."""
        kernel = self._line.sandbox.kernel
        source = kernel.execute(self._request)
        while True:
            try:
                async with aclosing(source) as lines:
                    async for line in lines:
                        self._broken.is_whole()
                        if line.seq > self._seen:
                            self._seen = line.seq
                            yield line
                        if isinstance(line, ExecutionEnd):
                            return
            except AgentViolation:
                raise
            except NotFound:
                source = kernel.execute(self._request)
            except SandboxLost as error:
                await self._broken.pause(self._line.ref, error)
                source = kernel.resume(self._request.execution_id, self._seen)
