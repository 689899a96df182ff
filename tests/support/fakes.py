"""Fakes of product quality at the ports, named by how they behave."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta

from sandbox_service.domain.errors import EngineUnavailable, SandboxLost
from sandbox_service.domain.ports import KernelHealth, Sandbox
from sandbox_service.domain.values import (
    Limits,
    SandboxRef,
    SandboxReport,
    SandboxSpec,
    SandboxState,
    SessionRecord,
    SessionStatus,
)


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
        return [SandboxRef(sandbox_id=sandbox_id) for sandbox_id in self.running]

    async def stop(self, ref: SandboxRef) -> None:
        self.running.pop(ref.sandbox_id, None)

    async def report(self, ref: SandboxRef) -> SandboxReport:
        is_there = ref.sandbox_id in self.running
        return SandboxReport(state=SandboxState.RUNNING if is_there else SandboxState.MISSING)

    async def resize(self, ref: SandboxRef, limits: Limits) -> bool:
        self.resized[ref.sandbox_id] = limits
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
