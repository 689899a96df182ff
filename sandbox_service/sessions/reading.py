"""The lines of one execution, each once, however often the line to the sandbox breaks."""

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing

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
from sandbox_service.domain.values import ExecutionRecord, SandboxState
from sandbox_service.sessions.lines import Line

logger = logging.getLogger(__name__)

LINE_PATIENCE_S = 60.0
ENGINE_PATIENCE_S = 120.0
SHORTEST_PAUSE_S = 0.05
LONGEST_PAUSE_S = 1.0


class ExecutionReader:
    """Starts the code, and comes back for its lines while the engine says that the sandbox runs."""

    def __init__(self, line: Line, record: ExecutionRecord, backend: SandboxBackend) -> None:
        self._line = line
        self._backend = backend
        self._request = ExecuteRequest(record.id, record.code, record.terms.output_bytes)
        self._seen = 0
        self._pause_s = SHORTEST_PAUSE_S
        self._broken_at: float | None = None

    async def lines(self) -> AsyncGenerator[ExecutionLine, None]:
        """Every line up to ExecutionEnd.

        Raises SandboxLost when the sandbox is gone or does not answer for LINE_PATIENCE_S, AgentViolation.
        """
        kernel = self._line.sandbox.kernel
        source = kernel.execute(self._request)
        while True:
            try:
                async with aclosing(source) as lines:
                    async for line in lines:
                        self._broken_at = None
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
                await self._wait_or_give_up(error)
                source = kernel.resume(self._request.execution_id, self._seen)

    async def _wait_or_give_up(self, error: SandboxLost) -> None:
        """Pause before the next try. Raises SandboxLost when there is no sense in one."""
        now = asyncio.get_running_loop().time()
        if self._broken_at is None:
            self._broken_at, self._pause_s = now, SHORTEST_PAUSE_S
        patience_s = LINE_PATIENCE_S if await self._engine_says_running() else ENGINE_PATIENCE_S
        if now - self._broken_at > patience_s:
            raise error
        await asyncio.sleep(self._pause_s)
        self._pause_s = min(LONGEST_PAUSE_S, 2 * self._pause_s)

    async def _engine_says_running(self) -> bool:
        """False when the engine does not say anything. Raises SandboxLost when it says no."""
        try:
            report = await self._backend.report(self._line.ref)
        except EngineUnavailable as error:
            logger.warning("engine_did_not_say sandbox=%s %s", self._line.ref.sandbox_id, error)
            return False
        if report.state is not SandboxState.RUNNING:
            raise SandboxLost(f"The sandbox has {report.state.value}.")
        return True
