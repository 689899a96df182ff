"""Fakes of product quality at the ports, named by how they behave."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta

from sandbox_service.domain.errors import EngineUnavailable, SandboxLost
from sandbox_service.domain.ports import KernelHealth, Sandbox
from sandbox_service.domain.values import (
    MIB,
    Capacity,
    ExecutionRecord,
    ExecutionStatus,
    KernelStamp,
    Limits,
    SandboxRef,
    SandboxReport,
    SandboxSpec,
    SandboxState,
    SessionRecord,
    SessionStatus,
    Template,
)
from tests.support.fake_kernels import Cell, ScriptedKernel


class SteppedClock:
    """Time that moves only when it is told to; sleeping lets other tasks run."""

    def __init__(self) -> None:
        self.elapsed_s = 0.0

    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=self.elapsed_s)

    def monotonic(self) -> float:
        return self.elapsed_s

    async def sleep(self, seconds: float) -> None:
        self.elapsed_s += seconds
        await asyncio.sleep(0)

    def advance(self, seconds: float) -> None:
        self.elapsed_s += seconds


class IdleKernel:
    """A kernel that is always idle."""

    async def health(self, wait_s: float = 0.0) -> KernelHealth:
        return KernelHealth("idle", 1)


class UnreachableKernel:
    """A kernel whose line is broken."""

    async def health(self, wait_s: float = 0.0) -> KernelHealth:
        raise SandboxLost("gone")


class FakeSandbox:
    """A line to nothing, with the kernel that it is given."""

    files = None

    def __init__(self, kernel: object | None = None) -> None:
        self.kernel = kernel or IdleKernel()
        self.is_closed = False

    async def close(self) -> None:
        self.is_closed = True


class InstantBackend:
    """Starts sandboxes at once, and knows which are there."""

    def __init__(self) -> None:
        self.running: dict[str, SandboxSpec] = {}
        self.resized: dict[str, Limits] = {}
        self.labels: dict[str, dict[str, str]] = {}
        self.started_count = 0

    async def start(self, spec: SandboxSpec) -> AsyncIterator[SandboxRef]:
        yield SandboxRef(sandbox_id=spec.sandbox_id)
        await asyncio.sleep(0)
        self.started_count += 1
        self.running[spec.sandbox_id] = spec
        yield SandboxRef(sandbox_id=spec.sandbox_id, engine_id="e-" + spec.sandbox_id)

    async def connect(self, ref: SandboxRef) -> Sandbox:
        return FakeSandbox()  # type: ignore[return-value]

    async def find(self) -> Sequence[SandboxRef]:
        return [
            SandboxRef(sandbox_id=sandbox_id, labels=self.labels.get(sandbox_id, {}))
            for sandbox_id in self.running
        ]

    async def stop(self, ref: SandboxRef) -> None:
        self.running.pop(ref.sandbox_id, None)
        self.labels.pop(ref.sandbox_id, None)

    async def label(self, ref: SandboxRef, labels: Mapping[str, str]) -> None:
        self.labels[ref.sandbox_id] = dict(labels)

    async def report(self, ref: SandboxRef) -> SandboxReport:
        is_there = ref.sandbox_id in self.running
        return SandboxReport(state=SandboxState.RUNNING if is_there else SandboxState.MISSING)

    async def resize(self, ref: SandboxRef, limits: Limits) -> bool:
        self.resized[ref.sandbox_id] = limits
        return True

    async def capacity(self, template: Template) -> Capacity:
        return Capacity(cpus=4, memory_bytes=4096 * MIB, least_cpus=0.25)

    def can_resize(self, template: Template) -> bool:
        return True


class FailsFirstStarts(InstantBackend):
    """Refuses the first `failures` starts after having made something."""

    def __init__(self, failures: int) -> None:
        super().__init__()
        self.failures = failures

    async def start(self, spec: SandboxSpec) -> AsyncIterator[SandboxRef]:
        self.running[spec.sandbox_id] = spec
        yield SandboxRef(sandbox_id=spec.sandbox_id)
        if self.failures > 0:
            self.failures -= 1
            raise EngineUnavailable("the engine is away")
        yield SandboxRef(sandbox_id=spec.sandbox_id, engine_id="e")


class NeverReady(InstantBackend):
    """Makes something, and then never gets ready."""

    async def start(self, spec: SandboxSpec) -> AsyncIterator[SandboxRef]:
        self.running[spec.sandbox_id] = spec
        yield SandboxRef(sandbox_id=spec.sandbox_id)
        await asyncio.Event().wait()


class ConnectsToTheDead(InstantBackend):
    """Starts sandboxes whose line is broken by the time they are used."""

    async def connect(self, ref: SandboxRef) -> Sandbox:
        return FakeSandbox(UnreachableKernel())  # type: ignore[return-value]


class PlaysCells(InstantBackend):
    """Every sandbox has a kernel that plays the same cells, and outlives the lines to it.

    `reports` are the engine's word on single sandboxes; with `is_away` it says nothing.
    """

    def __init__(self, cells: Mapping[str, Cell] | None = None) -> None:
        super().__init__()
        self.cells = dict(cells or {})
        self.kernels: dict[str, ScriptedKernel] = {}
        self.reports: dict[str, SandboxReport] = {}
        self.is_away = False

    async def connect(self, ref: SandboxRef) -> Sandbox:
        if ref.sandbox_id not in self.running:
            raise SandboxLost("Nobody answers.")
        kernel = self.kernels.setdefault(ref.sandbox_id, ScriptedKernel(self.cells))
        return FakeSandbox(kernel)  # type: ignore[return-value]

    async def stop(self, ref: SandboxRef) -> None:
        await super().stop(ref)
        if ref.sandbox_id in self.kernels:
            self.kernels[ref.sandbox_id].die()

    def kill(self, ref: SandboxRef, oom_kills: int = 0) -> None:
        """The sandbox exits, as if killed from outside or for want of memory."""
        report = SandboxReport(state=SandboxState.EXITED, exit_code=137, oom_kills=oom_kills)
        self.reports[ref.sandbox_id] = report
        self.kernels[ref.sandbox_id].die()

    async def report(self, ref: SandboxRef) -> SandboxReport:
        if self.is_away:
            raise EngineUnavailable("The engine is away.")
        return self.reports.get(ref.sandbox_id) or await super().report(ref)

    @property
    def kernel(self) -> ScriptedKernel:
        """Of the only sandbox there is."""
        [kernel] = self.kernels.values()
        return kernel


def execution_record(
    clock: SteppedClock, execution_id: str = "exec_a", **changes: object
) -> ExecutionRecord:
    """A queued execution of `1` in the session `sess_a` of tenant `first`."""
    now = clock.now()
    fields = {
        "id": execution_id,
        "session_id": "sess_a",
        "tenant": "first",
        "status": ExecutionStatus.QUEUED,
        "created_at": now,
        "code": "1",
        "kernel": KernelStamp(epoch=1, state="kept"),
        "session_expires_at": now,
        **changes,
    }
    return ExecutionRecord.model_validate(fields)


def session_record(
    clock: SteppedClock, session_id: str = "sess_a", **changes: object
) -> SessionRecord:
    """A ready session of tenant `first` that was opened now."""
    now = clock.now()
    fields = {
        "id": session_id,
        "tenant": "first",
        "status": SessionStatus.READY,
        "template": "python",
        "runtime": "runc",
        "created_at": now,
        "last_active_at": now,
        "idle_ttl_s": 60,
        "max_age_s": 600,
        "expires_at": now + timedelta(seconds=60),
        "limits": Limits(),
        **changes,
    }
    return SessionRecord.model_validate(fields)
