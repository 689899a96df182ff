"""Tenants: what a key may do, who is calling, how much a tenant may use, and what is written down of it."""

from collections.abc import Awaitable, Callable, Collection, Mapping
from contextlib import AbstractAsyncContextManager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol


class Scope(StrEnum):
    """What a key may be used for."""

    EXECUTE = "execute"
    FILES = "files"
    READ = "read"
    ADMIN = "admin"


LONGEST_TENANT_NAME = 128


def is_tenant_name(name: str) -> bool:
    """The empty name is the service's own: whoever bore it would be under no quota."""
    return name.isprintable() and bool(name.strip()) and len(name) <= LONGEST_TENANT_NAME


@dataclass(frozen=True, slots=True)
class Caller:
    """On whose behalf something is done. The empty one is the service itself."""

    tenant: str = ""
    key_id: str = ""
    address: str = ""


SERVICE = Caller()
CALLER: ContextVar[Caller] = ContextVar("caller", default=SERVICE)
"""Set once per request by the HTTP room, for the audit log only. Rights never depend on it."""


class Held(StrEnum):
    """What a tenant holds a number of at once; the value is the code of the refusal."""

    SESSIONS = "quota_sessions"
    EXECUTIONS = "quota_executions"


Sizes = Callable[[], Awaitable[Mapping[str, int]]]
"""Reads anew how many bytes each tenant has stored."""


class Quotas(Protocol):
    """How much each tenant may use. Every method is atomic, over all replicas that share the state.

    What gives back is no coroutine: it never waits and never fails, so it is safe in every `finally`.
    What it gives back is there for every later call on this object, and for other replicas soon after.
    The coroutines raise StoreUnavailable when the state is away.
    """

    def running(self) -> AbstractAsyncContextManager[None]:
        """While the context is open, what is given back takes effect by itself."""
        ...

    async def admit(self, tenant: str) -> None:
        """Count one request. Raises RateLimited `rate_requests`; lets it pass when the state is away."""
        ...

    async def claim(self, tenant: str, held: Held, holder: str) -> None:
        """Hold one more under the name `holder`; a name holds once.

        Raises RateLimited with the code of `held`, or `session_limit` when all tenants together have
        as many sessions as the service runs.
        """
        ...

    def release(self, tenant: str, held: Held, holder: str) -> None:
        """Give back what `holder` holds, if it does."""
        ...

    async def flush(self) -> None:
        """Return when what was given back before is there for other replicas too, or the state is away."""
        ...

    async def settle(
        self, held: Held, actual: Mapping[str, Collection[str]], grace_s: float
    ) -> None:
        """Make the holders of every tenant those of `actual`, whatever the limits; others hold nothing.

        What was claimed in the last `grace_s` stays, and what was released in them is not brought back:
        `actual`, read before the call, need not know of it yet. A name is its holder's for good.
        """
        ...

    async def store(self, tenant: str, size_bytes: int) -> None:
        """Count bytes about to be stored. Raises RateLimited `quota_stored_bytes` and counts none."""
        ...

    def discard(self, tenant: str, size_bytes: int) -> None:
        """Count bytes that are no longer stored."""
        ...

    def most_files(self, tenant: str) -> int | None:
        """How many files the tenant may have stored, which their catalog counts; None: any number."""
        ...

    async def load_stored(self, sizes: Sizes, quiet_s: float = 60.0) -> None:
        """Count anew what is stored, for each tenant of whom nothing was counted for `quiet_s`.

        At the start, and from time to time: what a process that was killed had counted ahead is given
        back so. Several replicas may do it at once.
        """
        ...

    async def require_cpu(self, tenant: str) -> None:
        """Raises RateLimited `quota_cpu_seconds` when the day's CPU seconds are spent."""
        ...

    def spend_cpu(self, tenant: str, seconds: float) -> None:
        """Count CPU seconds of the present day (UTC)."""
        ...

    def meter_cpu(self, tenant: str, meter: str, total_s: float) -> None:
        """Count what `meter` has advanced since it was read last, whoever read it; the first reading counts nothing."""
        ...


class AuditLog(Protocol):
    """What is written down of who did what."""

    def record(self, event: str, /, **details: object) -> None:
        """Take one event, at once and without failing. `details` are JSON values, never keys or output."""
        ...


class NoQuotas:
    """Quotas that refuse nothing."""

    def running(self) -> AbstractAsyncContextManager[None]:
        return nullcontext()

    async def admit(self, tenant: str) -> None:
        return

    async def claim(self, tenant: str, held: Held, holder: str) -> None:
        return

    def release(self, tenant: str, held: Held, holder: str) -> None:
        return

    async def flush(self) -> None:
        return

    async def settle(
        self, held: Held, actual: Mapping[str, Collection[str]], grace_s: float
    ) -> None:
        return

    async def store(self, tenant: str, size_bytes: int) -> None:
        return

    def discard(self, tenant: str, size_bytes: int) -> None:
        return

    def most_files(self, tenant: str) -> int | None:
        return None

    async def load_stored(self, sizes: Sizes, quiet_s: float = 60.0) -> None:
        return

    async def require_cpu(self, tenant: str) -> None:
        return

    def spend_cpu(self, tenant: str, seconds: float) -> None:
        return

    def meter_cpu(self, tenant: str, meter: str, total_s: float) -> None:
        return


class NoAudit:
    """An audit log that keeps nothing."""

    def record(self, event: str, /, **details: object) -> None:
        return
