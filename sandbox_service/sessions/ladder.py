"""The interrupt ladder: SIGINT, SIGINT, SIGKILL and a fresh kernel, each step reported."""

import asyncio
from collections.abc import Callable

from sandbox_service.domain.errors import ServiceError
from sandbox_service.domain.ports import KernelConnection


class InterruptLadder:
    """Stops an execution that passed its deadline. Cancelled by its owner as soon as that has ended."""

    def __init__(
        self,
        kernel: KernelConnection,
        execution_id: str,
        grace_s: float,
        report: Callable[[str], None],
    ) -> None:
        self._kernel = kernel
        self._execution_id = execution_id
        self._grace_s = grace_s
        self._report = report

    async def climb(self, before_kill: Callable[[], None]) -> None:
        """Take every step, with the grace time after each; `before_kill` is called before the last."""
        self._report("Time limit reached: the kernel was interrupted.")
        await self._interrupt()
        self._report("The code went on after the interrupt and was interrupted again.")
        await self._interrupt()
        self._report("The code did not stop: the kernel was killed and a fresh one started.")
        stuck = await self._kernel.health()
        before_kill()
        await self._kernel.restart(stuck.incarnation, self._execution_id)
        await asyncio.sleep(self._grace_s)

    async def _interrupt(self) -> None:
        try:
            async with asyncio.timeout(self._grace_s):
                await self._kernel.interrupt(self._execution_id)
        except (TimeoutError, ServiceError):
            pass
        await asyncio.sleep(self._grace_s)
