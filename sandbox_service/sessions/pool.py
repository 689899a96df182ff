"""The warm pool: ready sandboxes of one template, kernel up and imports done, each used once and never returned."""

import asyncio
import logging
from collections import deque
from dataclasses import dataclass

from sandbox_service.domain.errors import ServiceError
from sandbox_service.domain.ids import new_id
from sandbox_service.domain.ports import Clock, SandboxBackend
from sandbox_service.domain.values import Limits, SandboxRef, SandboxSpec, Template
from sandbox_service.sessions.metrics import Metrics
from sandbox_service.sessions.provisioning import Provisioned, Provisioner

logger = logging.getLogger(__name__)

LONGEST_PAUSE_S = 30.0
HEALTH_WAIT_S = 2.0
SETTLE_S = 0.5


@dataclass(frozen=True, slots=True)
class PoolSize:
    """The pool holds `floor` sandboxes, plus one for each claim of the last `window_s`, up to `ceiling`."""

    floor: int
    ceiling: int
    window_s: float = 60.0


def target_size(size: PoolSize, recent_claims: int) -> int:
    """How many ready sandboxes to hold after this demand. Pure."""
    return max(size.floor, min(size.ceiling, size.floor + recent_claims)) if size.ceiling else 0


def fits_warm(asked: Limits, template: Template) -> bool:
    """Whether a warm sandbox can be given these limits: a tmpfs keeps the size it was made with."""
    return asked.workspace_bytes == template.limits.workspace_bytes


def needs_resize(asked: Limits, template: Template) -> bool:
    made = template.limits
    return (asked.memory_bytes, asked.cpus, asked.pids) != (made.memory_bytes, made.cpus, made.pids)


class WarmPool:
    """Fills itself in the background, one sandbox at a time, while `run` runs."""

    def __init__(
        self,
        template: Template,
        size: PoolSize,
        provisioner: Provisioner,
        backend: SandboxBackend,
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        self._template = template
        self._size = size
        self._provisioner = provisioner
        self._backend = backend
        self._clock = clock
        self._metrics = metrics
        self._ready: deque[Provisioned] = deque()
        self._claims: deque[float] = deque()
        self._starting: SandboxRef | None = None
        self._demand = asyncio.Event()

    @property
    def sandbox_ids(self) -> frozenset[str]:
        """What the pool holds or is making, so that nobody reaps it."""
        held = {warm.ref.sandbox_id for warm in self._ready}
        return frozenset(held | ({self._starting.sandbox_id} if self._starting else set()))

    @property
    def ready_count(self) -> int:
        return len(self._ready)

    async def claim(self, limits: Limits) -> Provisioned | None:
        """Take a ready sandbox with these limits out of the pool; None on a miss."""
        self._claims.append(self._clock.monotonic())
        self._demand.set()
        claimed = await self._take(limits) if fits_warm(limits, self._template) else None
        self._metrics.pool_claims.labels("hit" if claimed else "miss").inc()
        return claimed

    async def _take(self, limits: Limits) -> Provisioned | None:
        while self._ready:
            warm = self._ready.popleft()
            self._count()
            if await self._is_usable(warm, limits):
                return warm
            await self._discard(warm)
        return None

    async def _is_usable(self, warm: Provisioned, limits: Limits) -> bool:
        try:
            async with asyncio.timeout(HEALTH_WAIT_S):
                health = await warm.sandbox.kernel.health()
                if health.state != "idle":
                    return False
                if needs_resize(limits, self._template):
                    return await self._backend.resize(warm.ref, limits)
                return True
        except (ServiceError, TimeoutError):
            return False

    async def run(self) -> None:
        """Keep the pool at its target until cancelled. A failed start is tried again, ever more slowly."""
        pause_s = 0.0
        while True:
            try:
                await self._step()
                pause_s = 0.0
            except ServiceError as error:
                logger.warning("pool_start_failed reason=%s", error.message)
                pause_s = min(LONGEST_PAUSE_S, pause_s * 2 or 0.5)
                await self._clock.sleep(pause_s)

    async def _step(self) -> None:
        missing = self._target() - len(self._ready)
        if missing > 0:
            await self._let_claimers_go_first()
            await self._add_one()
        elif missing < 0:
            warm = self._ready.popleft()
            self._count()
            await self._discard(warm)
        else:
            await self._wait_for_change()

    async def _let_claimers_go_first(self) -> None:
        """A start takes a whole CPU: while something is ready, not beside a claimer's first cell."""
        while self._ready and self._claims:
            pause_s = self._claims[-1] + SETTLE_S - self._clock.monotonic()
            if pause_s <= 0:
                return
            await self._clock.sleep(pause_s)

    def _target(self) -> int:
        horizon = self._clock.monotonic() - self._size.window_s
        while self._claims and self._claims[0] < horizon:
            self._claims.popleft()
        return target_size(self._size, len(self._claims))

    async def _add_one(self) -> None:
        spec = SandboxSpec(
            sandbox_id=new_id("box"),
            template=self._template,
            limits=self._template.limits,
            labels={"pool": self._template.name},
            is_background=True,
        )
        try:
            warm = await self._provisioner.start(spec, self._note)
        finally:
            self._starting = None
        self._ready.append(Provisioned(warm.ref, warm.sandbox, "pool"))
        self._count()

    async def _note(self, ref: SandboxRef) -> None:
        self._starting = ref

    async def _wait_for_change(self) -> None:
        """Until a claim comes, or old claims may have left the window."""
        self._demand.clear()
        try:
            async with asyncio.timeout(self._size.window_s / 4):
                await self._demand.wait()
        except TimeoutError:
            return

    async def _discard(self, warm: Provisioned) -> None:
        await warm.sandbox.close()
        try:
            await self._backend.stop(warm.ref)
        except ServiceError as error:
            logger.warning("sandbox_stop_failed sandbox=%s %s", warm.ref.sandbox_id, error.code)

    async def drain(self) -> None:
        """Stop everything the pool holds; `run` must have been cancelled before."""
        ready, self._ready = list(self._ready), deque()
        self._count()
        await asyncio.gather(*(self._discard(warm) for warm in ready))

    def _count(self) -> None:
        self._metrics.pool_ready.labels(self._template.name).set(len(self._ready))
