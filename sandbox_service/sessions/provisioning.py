"""A sandbox for a session: started cold, with every checkpoint known to whoever must clean up."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Literal

from sandbox_service.domain.errors import SandboxStartFailed
from sandbox_service.domain.ports import Sandbox, SandboxBackend
from sandbox_service.domain.values import SandboxRef, SandboxSpec
from sandbox_service.sessions.turns import FairTurns

logger = logging.getLogger(__name__)

STOP_WAIT_S = 2.0

Checkpoint = Callable[[SandboxRef], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Provisioned:
    """A sandbox that is up, with an open line. `source` says where it came from."""

    ref: SandboxRef
    sandbox: Sandbox
    source: Literal["cold", "pool"]


class Provisioner:
    """Starts sandboxes, a few at a time and tenants in turn: a burst stalls neither engine nor others."""

    def __init__(self, backend: SandboxBackend, timeout_s: float, concurrency: int) -> None:
        self._backend = backend
        self._timeout_s = timeout_s
        self._starts = FairTurns(concurrency)
        self._stopping: set[asyncio.Task[None]] = set()

    async def start(self, spec: SandboxSpec, checkpoint: Checkpoint) -> Provisioned:
        """Start a sandbox and connect to it. What was made is stopped again on any failure.

        Raises SandboxStartFailed, RuntimeUnavailable, EngineUnavailable.
        """
        made: SandboxRef | None = None

        async def note(ref: SandboxRef) -> None:
            nonlocal made
            made = ref
            await checkpoint(ref)

        try:
            async with self._turn(spec), asyncio.timeout(self._timeout_s):
                ref = await self._start(spec, note)
                return Provisioned(ref, await self._backend.connect(ref), "cold")
        except BaseException as error:
            if made is not None:
                await self._stop(made)
            if isinstance(error, TimeoutError):
                raise SandboxStartFailed(
                    f"The sandbox was not ready within {self._timeout_s:g} s."
                ) from None
            raise

    @asynccontextmanager
    async def _turn(self, spec: SandboxSpec) -> AsyncIterator[None]:
        """Wait for a turn, for as long as a start may take and no longer."""
        turn = self._starts.turn(spec.labels.get("tenant", ""))
        async with AsyncExitStack() as stack:
            async with asyncio.timeout(self._timeout_s):
                await stack.enter_async_context(turn)
            yield

    async def _stop(self, made: SandboxRef) -> None:
        """Stop what was made; with an engine that hangs in the background, and the caller is told now."""
        stopping = asyncio.create_task(self._backend.stop(made))
        self._stopping.add(stopping)
        stopping.add_done_callback(self._stopped)
        await asyncio.wait({stopping}, timeout=STOP_WAIT_S)

    def _stopped(self, stopping: asyncio.Task[None]) -> None:
        self._stopping.discard(stopping)
        if not stopping.cancelled() and (error := stopping.exception()) is not None:
            logger.warning("sandbox_stop_failed error=%s", error)  # the reaper finds it

    async def _start(self, spec: SandboxSpec, note: Checkpoint) -> SandboxRef:
        latest: SandboxRef | None = None
        async with aclosing(self._backend.start(spec)) as checkpoints:
            async for ref in checkpoints:
                latest = ref
                await note(ref)
        if latest is None:
            raise SandboxStartFailed("The backend started nothing.")
        return latest
