"""A sandbox for a session: started cold, with every checkpoint known to whoever must clean up."""

import asyncio
import logging
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Literal

from sandbox_service.domain.errors import Overloaded, SandboxStartFailed
from sandbox_service.domain.ports import Sandbox, SandboxBackend
from sandbox_service.domain.values import SandboxRef, SandboxSpec
from sandbox_service.sessions.turns import FairTurns

logger = logging.getLogger(__name__)

STOP_WAIT_S = 2.0
LAST_STOP_WAIT_S = 10.0
ASSUMED_START_S = 1.5
NEWEST_SHARE = 0.25

Checkpoint = Callable[[SandboxRef], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Provisioned:
    """A sandbox that is up, with an open line. `source` says where it came from."""

    ref: SandboxRef
    sandbox: Sandbox
    source: Literal["cold", "pool"]


@dataclass(frozen=True, slots=True)
class StartTerms:
    """How many start at once, how long one may take, and how long one may wait for its turn to be over."""

    timeout_s: float
    concurrency: int
    wait_s: float


class Provisioner:
    """Starts sandboxes, a few at a time and tenants in turn: a burst stalls neither engine nor others.

    Who cannot be served within the time that an open may wait is told so at once.
    """

    def __init__(self, backend: SandboxBackend, terms: StartTerms) -> None:
        self._backend = backend
        self._terms = terms
        self._starts = FairTurns(terms.concurrency)
        self._usual_s = ASSUMED_START_S
        self._stopping: set[asyncio.Task[None]] = set()

    @property
    def is_idle(self) -> bool:
        """Whether nothing starts at this moment."""
        return self._starts.is_idle

    async def start(self, spec: SandboxSpec, checkpoint: Checkpoint) -> Provisioned:
        """Start a sandbox and connect to it. What was made is stopped again on any failure.

        Raises Overloaded, SandboxStartFailed, RuntimeUnavailable, EngineUnavailable.
        """
        made: SandboxRef | None = None

        async def note(ref: SandboxRef) -> None:
            nonlocal made
            made = ref
            await checkpoint(ref)

        try:
            async with self._turn(spec), self._timed():
                ref = await self._start(spec, note)
                return Provisioned(ref, await self._backend.connect(ref), "cold")
        except BaseException as error:
            if made is not None:
                await self._stop(made)
            if isinstance(error, TimeoutError):
                raise SandboxStartFailed(
                    f"The sandbox was not ready within {self._terms.timeout_s:g} s."
                ) from None
            raise

    @asynccontextmanager
    async def _timed(self) -> AsyncIterator[None]:
        """Bounds a start, and learns how long one takes at present."""
        started = time.monotonic()
        try:
            async with asyncio.timeout(self._terms.timeout_s):
                yield
        finally:
            took_s = time.monotonic() - started
            self._usual_s += NEWEST_SHARE * (took_s - self._usual_s)

    @asynccontextmanager
    async def _turn(self, spec: SandboxSpec) -> AsyncIterator[None]:
        """Wait for a turn; the pool's starts wait until no session's does. Raises Overloaded."""
        if spec.is_background:
            async with self._starts.turn(""):
                yield
            return
        tenant = spec.labels.get("tenant") or "-"
        self._require_in_time(tenant)
        async with AsyncExitStack() as stack:
            try:
                async with asyncio.timeout(self._terms.wait_s):
                    await stack.enter_async_context(self._starts.turn(tenant))
            except TimeoutError:
                raise self._overloaded(self._usual_s) from None
            yield

    def _require_in_time(self, tenant: str) -> None:
        wait_s = self._starts.rounds_ahead(tenant) * self._usual_s
        if wait_s > self._terms.wait_s:
            raise self._overloaded(wait_s - self._terms.wait_s)

    def _overloaded(self, over_s: float) -> Overloaded:
        return Overloaded(
            "More sessions are being opened than can be started within "
            f"{self._terms.wait_s:g} s (SANDBOX_OPEN_WAIT_S). Try again later.",
            retry_after_s=max(1, math.ceil(over_s)),
        )

    async def _stop(self, made: SandboxRef) -> None:
        """Stop what was made; with an engine that hangs in the background, and the caller is told now."""
        stopping = asyncio.create_task(self._backend.stop(made))
        self._stopping.add(stopping)
        stopping.add_done_callback(self._stopped)
        await asyncio.wait({stopping}, timeout=STOP_WAIT_S)

    async def aclose(self) -> None:
        """Wait for what is being stopped in the background: nothing is left behind a process that can help it."""
        if self._stopping:
            await asyncio.wait(self._stopping, timeout=LAST_STOP_WAIT_S)

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
