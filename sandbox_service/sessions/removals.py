"""Removes the sandboxes of sessions that have ended: not beside a start that somebody waits for."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable

from sandbox_service.domain.errors import ServiceError
from sandbox_service.domain.ports import SandboxBackend
from sandbox_service.domain.values import SandboxRef

logger = logging.getLogger(__name__)

LONGEST_WAIT_S = 5.0
STEP_S = 0.25
MOST_WAITING = 32


def _always() -> bool:
    return True


class Removals:
    """At once, or late: one at a time when nothing starts, and a few seconds later in any case.

    What waits here when the process is killed has no session, so the reaper finds it.
    """

    def __init__(
        self,
        backend: SandboxBackend,
        has_time: Callable[[], bool] = _always,
        step_s: float = STEP_S,
    ) -> None:
        self._backend = backend
        self._has_time = has_time
        self._step_s = step_s
        self._waiting: deque[SandboxRef] = deque()
        self._worker: asyncio.Task[None] | None = None

    async def now(self, ref: SandboxRef) -> None:
        """Remove it; what the engine refuses now, the reaper finds later by its labels."""
        try:
            await self._backend.stop(ref)
        except ServiceError as error:
            logger.warning("sandbox_stop_failed sandbox=%s reason=%s", ref.sandbox_id, error.code)

    async def late(self, ref: SandboxRef) -> None:
        """Remove it when there is time. With too many that wait, now."""
        if self._has_time() or len(self._waiting) >= MOST_WAITING:
            await self.now(ref)
            return
        self._waiting.append(ref)
        if self._worker is None:
            self._worker = asyncio.create_task(self._work())

    async def _work(self) -> None:
        try:
            while self._waiting:
                await self._until_time()
                # It waits until it is done: a stop that comes meanwhile begins it anew.
                await self.now(self._waiting[0])
                self._waiting.popleft()
        finally:
            self._worker = None

    async def _until_time(self) -> None:
        waited_s = 0.0
        while not self._has_time() and waited_s < LONGEST_WAIT_S:
            await asyncio.sleep(self._step_s)
            waited_s += self._step_s

    async def aclose(self) -> None:
        """Remove what still waits."""
        if self._worker is not None:
            self._worker.cancel()
            await asyncio.wait({self._worker})
        while self._waiting:
            await self.now(self._waiting.popleft())
