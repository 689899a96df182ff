"""Keys, quotas and audit log of one service process, from its settings."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sandbox_service.domain.clock import SystemClock
from sandbox_service.domain.ports import Clock
from sandbox_service.domain.quota_rules import LimitsOf, SharedRoom, TenantLimits
from sandbox_service.domain.tenancy import Quotas
from sandbox_service.settings import Settings
from sandbox_service.tenants.audit import AuditTrail
from sandbox_service.tenants.audit_writer import AuditWriter
from sandbox_service.tenants.key_file import FILE_NAME, KeyFile
from sandbox_service.tenants.keyring import Keyring
from sandbox_service.tenants.quotas import MemoryQuotas

QuotasOf = Callable[[LimitsOf, SharedRoom], Quotas]


def open_keyring(settings: Settings, clock: Clock | None = None) -> Keyring:
    """The keys of the environment and of the key file in the data directory."""
    return Keyring(settings.api_keys, open_key_file(settings), clock)


def open_key_file(settings: Settings) -> KeyFile:
    """Shared by all processes with this data directory: a change by one holds for the next call of another."""
    return KeyFile(settings.data_dir / FILE_NAME)


def audit_directory(settings: Settings) -> Path:
    """Of the chains of all processes with this data directory."""
    return settings.data_dir / "audit"


def open_audit(
    settings: Settings, clock: Clock | None = None, on_drop: Callable[[], None] = lambda: None
) -> AuditTrail:
    """This process's part of the audit log; it takes a chain of its own with the first event."""
    writer = AuditWriter(
        audit_directory(settings),
        settings.audit_file_bytes,
        total_bytes=settings.audit_total_bytes,
    )
    return AuditTrail(writer, clock or SystemClock(), on_drop)


def default_limits(settings: Settings) -> TenantLimits:
    """What a tenant may use that has no limits of its own."""
    return TenantLimits(
        sessions=settings.quota_sessions,
        executions=settings.quota_executions,
        requests_per_s=settings.quota_requests_per_s,
        stored_bytes=settings.quota_stored_bytes,
        stored_files=settings.quota_stored_files,
        cpu_seconds_per_day=settings.quota_cpu_seconds_per_day,
    )


@dataclass(frozen=True, slots=True)
class Tenancy:
    """What the rooms above ask of this one."""

    keys: Keyring
    quotas: Quotas
    audit: AuditTrail

    @classmethod
    def of(
        cls,
        settings: Settings,
        clock: Clock,
        on_drop: Callable[[], None],
        quotas_of: QuotasOf | None = None,
    ) -> "Tenancy":
        """Of one process. `quotas_of` makes quotas that several share; without it this process counts alone."""
        keys, defaults = open_keyring(settings, clock), default_limits(settings)

        def limits_of(tenant: str) -> TenantLimits:
            own = keys.limits_of(tenant)
            return defaults if own is None else own.over(defaults)

        room = SharedRoom(settings.max_sessions, keys.tenants)
        make = quotas_of or (lambda limits_of, room: MemoryQuotas(limits_of, room, clock))
        return cls(keys, make(limits_of, room), open_audit(settings, clock, on_drop))
