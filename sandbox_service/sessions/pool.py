"""The warm pool: ready sandboxes of one template, kernel up and imports done, each used once and never returned."""

import asyncio
import logging
from dataclasses import dataclass

from sandbox_service.domain.errors import ServiceError
from sandbox_service.domain.ids import new_id
from sandbox_service.domain.ports import Clock, Sandbox, SandboxBackend, SandboxHost
from sandbox_service.domain.stores import PoolStore
from sandbox_service.domain.values import Limits, SandboxRef, SandboxSpec, Template
from sandbox_service.sessions.leader import Leader
from sandbox_service.sessions.metrics import Metrics
from sandbox_service.sessions.provisioning import Provisioned, Provisioner

logger = logging.getLogger(__name__)

LONGEST_PAUSE_S = 30.0
HEALTH_WAIT_S = 2.0
RESIZE_WAIT_S = 5.0
SETTLE_S = 0.5
LOOK_AGAIN_S = 1.0
RUSH_S = 5.0
AT_ONCE_IN_A_RUSH = 2


@dataclass(frozen=True, slots=True)
class PoolSize:
    """The pool holds `floor` sandboxes, plus one for each claim of the last `window_s`, up to `ceiling`."""

    floor: int
    ceiling: int
    window_s: float = 60.0


def target_size(size: PoolSize, recent_claims: int) -> int:
    """How many ready sandboxes to hold after this demand. Pure."""
    return max(size.floor, min(size.ceiling, size.floor + recent_claims)) if size.ceiling else 0


def is_rush(ready: int, newest_claims: int) -> bool:
    """Whether what is ready would not last, if claims go on as in the last `RUSH_S`. Pure."""
    return ready < newest_claims


def fits_warm(asked: Limits, template: Template) -> bool:
    """Whether a warm sandbox can be given these limits: a tmpfs keeps the size it was made with."""
    return asked.workspace_bytes == template.limits.workspace_bytes


def needs_resize(asked: Limits, template: Template) -> bool:
    made = template.limits
    return (asked.memory_bytes, asked.cpus, asked.pids) != (made.memory_bytes, made.cpus, made.pids)


class WarmPool:
    """Any replica claims from it; the leader fills it in the background while `run` runs.

    It starts one sandbox at a time, and none beside a claimer's first cell; in a rush two, without a pause.
    """

    def __init__(
        self,
        template: Template,
        size: PoolSize,
        store: PoolStore,
        leader: Leader,
        provisioner: Provisioner,
        backend: SandboxBackend,
        host: SandboxHost,
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        self._template = template
        self._size = size
        self._store = store
        self._leader = leader
        self._provisioner = provisioner
        self._backend = backend
        self._host = host
        self._clock = clock
        self._metrics = metrics
        self._open: dict[str, Sandbox] = {}
        self._starting: dict[str, SandboxRef] = {}
        self._demand = asyncio.Event()

    async def sandbox_ids(self) -> frozenset[str]:
        """What the pool holds or is making, so that nobody reaps it."""
        held = {ref.sandbox_id for ref in await self._store.ready(self._template.name)}
        return frozenset(held | self._starting.keys())

    async def claim(self, limits: Limits) -> Provisioned | None:
        """Take a ready sandbox with these limits out of the pool; None on a miss."""
        await self._store.note_claim(self._template.name)
        self._demand.set()
        claimed = await self._take(limits) if self._can_serve(limits) else None
        self._metrics.pool_claims.labels("hit" if claimed else "miss").inc()
        return claimed

    def _can_serve(self, limits: Limits) -> bool:
        """Whether a warm sandbox can have these limits; else none is taken out to be tried."""
        if not fits_warm(limits, self._template):
            return False
        return not needs_resize(limits, self._template) or self._host.can_resize(self._template)

    async def _take(self, limits: Limits) -> Provisioned | None:
        while (ref := await self._store.take(self._template.name)) is not None:
            sandbox = await self._usable(ref)
            if sandbox is None:
                await self._stop(ref)
            elif await self._has_limits(ref, limits):
                return Provisioned(ref, sandbox, "pool")
            else:
                await self._give_back(ref, sandbox)
                return None
        return None

    async def _usable(self, ref: SandboxRef) -> Sandbox | None:
        sandbox = self._open.pop(ref.sandbox_id, None)
        try:
            async with asyncio.timeout(HEALTH_WAIT_S):
                sandbox = sandbox or await self._backend.connect(ref)
                if (await sandbox.kernel.health()).state == "idle":
                    return sandbox
        except (ServiceError, TimeoutError):
            logger.info("pool_sandbox_unusable sandbox=%s", ref.sandbox_id)
        if sandbox is not None:
            await sandbox.close()
        return None

    async def _has_limits(self, ref: SandboxRef, limits: Limits) -> bool:
        return not needs_resize(limits, self._template) or await self._resized(ref, limits)

    async def _resized(self, ref: SandboxRef, limits: Limits) -> bool:
        """Whether the sandbox has these limits now; not when the engine does not say so."""
        try:
            async with asyncio.timeout(RESIZE_WAIT_S):
                return await self._backend.resize(ref, limits)
        except (ServiceError, TimeoutError):
            logger.info("pool_sandbox_not_resized sandbox=%s", ref.sandbox_id)
            return False

    async def _give_back(self, ref: SandboxRef, sandbox: Sandbox) -> None:
        """A refusal costs the others nothing; but what waits in the pool has the template's limits for sure."""
        self._open[ref.sandbox_id] = sandbox
        if await self._resized(ref, self._template.limits):
            await self._store.add(self._template.name, ref)
        else:
            await self._stop(ref)

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
        if not await self._leader.leads():
            await self._wait_for_change()
            return
        missing = await self._missing()
        if missing > 0 and await self._is_rush():
            await self._add(min(missing, AT_ONCE_IN_A_RUSH), is_rehearsed=False)
        elif missing > 0:
            await self._let_claimers_go_first()
            await self._add(1, is_rehearsed=True)
        elif missing < 0:
            await self._drop_one()
        else:
            await self._wait_for_change()

    async def _missing(self) -> int:
        name = self._template.name
        demand = await self._store.demand(name, self._size.window_s)
        ready = await self._store.ready(name)
        self._metrics.pool_ready.labels(name).set(len(ready))
        await self._close_all_but({ref.sandbox_id for ref in ready})
        return target_size(self._size, demand.claims) - len(ready)

    async def _is_rush(self) -> bool:
        name = self._template.name
        newest = await self._store.demand(name, RUSH_S)
        return is_rush(len(await self._store.ready(name)), newest.claims)

    async def _let_claimers_go_first(self) -> None:
        """A start takes a whole CPU: while something is ready, not beside a claimer's first cell."""
        name = self._template.name
        while await self._store.ready(name) and not await self._is_rush():
            age_s = (await self._store.demand(name, self._size.window_s)).last_age_s
            if age_s is None or age_s >= SETTLE_S:
                return
            await self._clock.sleep(SETTLE_S - age_s)

    async def _add(self, count: int, *, is_rehearsed: bool) -> None:
        """Start so many together. Raises the first one's failure when all are over."""
        starts = [self._add_one(is_rehearsed=is_rehearsed) for _ in range(count)]
        for result in await asyncio.gather(*starts, return_exceptions=True):
            if isinstance(result, BaseException):
                raise result

    async def _add_one(self, *, is_rehearsed: bool) -> None:
        spec = SandboxSpec(
            sandbox_id=new_id("box"),
            template=self._template,
            limits=self._template.limits,
            labels={"pool": self._template.name},
            is_background=True,
            is_rehearsed=is_rehearsed,
        )
        try:
            warm = await self._provisioner.start(spec, self._note)
            self._open[warm.ref.sandbox_id] = warm.sandbox
            await self._store.add(self._template.name, warm.ref)
        finally:
            self._starting.pop(spec.sandbox_id, None)
        self._metrics.pool_ready.labels(self._template.name).inc()

    async def _note(self, ref: SandboxRef) -> None:
        self._starting[ref.sandbox_id] = ref

    async def _wait_for_change(self) -> None:
        """Until a claim comes here; those of other replicas, and old ones that leave the window, soon after."""
        self._demand.clear()
        try:
            async with asyncio.timeout(LOOK_AGAIN_S):
                await self._demand.wait()
        except TimeoutError:
            return

    async def drop_missing(self, there: frozenset[str]) -> None:
        """Take out those that the engine does not run any more."""
        ready = await self._store.ready(self._template.name)
        if all(ref.sandbox_id in there for ref in ready):
            return
        for _ in ready:
            ref = await self._store.take(self._template.name)
            if ref is not None and ref.sandbox_id in there:
                await self._store.add(self._template.name, ref)
            elif ref is not None:
                await self._stop(ref)

    async def _drop_one(self) -> None:
        ref = await self._store.take(self._template.name)
        if ref is not None:
            await self._stop(ref)

    async def _stop(self, ref: SandboxRef) -> None:
        sandbox = self._open.pop(ref.sandbox_id, None)
        if sandbox is not None:
            await sandbox.close()
        try:
            await self._backend.stop(ref)
        except ServiceError as error:
            logger.warning("sandbox_stop_failed sandbox=%s reason=%s", ref.sandbox_id, error.code)

    async def _close_all_but(self, sandbox_ids: set[str]) -> None:
        """Close the lines to what other replicas have claimed."""
        for sandbox_id in [known for known in self._open if known not in sandbox_ids]:
            await self._open.pop(sandbox_id).close()

    async def drain(self) -> None:
        """Stop everything that waits in the pool."""
        while (ref := await self._store.take(self._template.name)) is not None:
            await self._stop(ref)

    async def aclose(self) -> None:
        """Close the lines; the sandboxes wait for the next process."""
        await self._close_all_but(set())
