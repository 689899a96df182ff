"""Keys, quotas and audit log of one service process, from its settings."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sandbox_service.domain.clock import SystemClock
from sandbox_service.domain.ports import Clock
from sandbox_service.settings import Settings
from sandbox_service.tenants.audit import AuditTrail
from sandbox_service.tenants.audit_files import AuditFiles
from sandbox_service.tenants.key_file import FILE_NAME, KeyFile
from sandbox_service.tenants.keyring import Keyring
from sandbox_service.tenants.quotas import MemoryQuotas, SharedRoom
from sandbox_service.tenants.records import TenantLimits


def open_keyring(settings: Settings, clock: Clock | None = None) -> Keyring:
    """The keys of the environment and of the key file in the data directory."""
    return Keyring(settings.api_keys, open_key_file(settings), clock)


def open_key_file(settings: Settings) -> KeyFile:
    return KeyFile(settings.data_dir / FILE_NAME)


def audit_directory(settings: Settings) -> Path:
    return settings.data_dir / "audit"


def open_audit(
    settings: Settings, clock: Clock | None = None, on_drop: Callable[[], None] = lambda: None
) -> AuditTrail:
    files = AuditFiles(audit_directory(settings), settings.audit_file_bytes)
    return AuditTrail(files, clock or SystemClock(), on_drop)


def default_limits(settings: Settings) -> TenantLimits:
    """What a tenant may use that has no limits of its own."""
    return TenantLimits(
        sessions=settings.quota_sessions,
        executions=settings.quota_executions,
        requests_per_s=settings.quota_requests_per_s,
        stored_bytes=settings.quota_stored_bytes,
        cpu_seconds_per_day=settings.quota_cpu_seconds_per_day,
    )


@dataclass(frozen=True, slots=True)
class Tenancy:
    """What the rooms above ask of this one."""

    keys: Keyring
    quotas: MemoryQuotas
    audit: AuditTrail

    @classmethod
    def of(cls, settings: Settings, clock: Clock, on_drop: Callable[[], None]) -> "Tenancy":
        keys, defaults = open_keyring(settings, clock), default_limits(settings)

        def limits_of(tenant: str) -> TenantLimits:
            own = keys.limits_of(tenant)
            return defaults if own is None else own.over(defaults)

        room = SharedRoom(settings.max_sessions, keys.tenants)
        quotas = MemoryQuotas(limits_of, room, clock)
        return cls(keys, quotas, open_audit(settings, clock, on_drop))
