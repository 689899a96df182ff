"""The service's settings: read once from the environment (`SANDBOX_*`), unknown names refused."""

import os
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from sandbox_service.domain.tenancy import is_tenant_name
from sandbox_service.domain.values import MIB, Template

PREFIX = "SANDBOX_"

# Read by the sandbox's build, the client, the agent and the tests, not by the service.
FOREIGN_NAMES = frozenset(
    {"SANDBOX_URL", "SANDBOX_API_KEY", "SANDBOX_BUILD_CA_BUNDLE", "SANDBOX_ENV_FILE"}
)


class SettingsError(Exception):
    """A setting is wrong; the message names it."""


class Settings(BaseSettings):
    """Everything that can be set, with its unit in its name."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid")

    host: str = "127.0.0.1"
    port: int = Field(8000, ge=0, le=65535)
    public_url: str | None = None
    api_keys: Annotated[tuple[tuple[str, str], ...], NoDecode] = ()
    backend: Literal["docker", "unsafe_local"] = "docker"
    docker_url: str | None = None
    redis_url: str | None = Field(None, pattern=r"^(redis|rediss|unix)://")
    workers: int = Field(1, ge=1, le=64)
    on_stop: Literal["keep", "remove"] = "keep"
    drain_s: float = Field(20, ge=0)
    drain_notice_s: float = Field(0, ge=0)
    lease_ttl_s: float = Field(4, ge=1)
    instance: str = Field("default", pattern=r"^[a-z0-9][a-z0-9-]{0,30}$")
    data_dir: Path = Path()
    runtime_dir: Path = Path()
    template: Template = Template()
    templates: tuple[Template, ...] = ()

    idle_ttl_s: float = Field(3600, ge=1)
    idle_ttl_min_s: float = Field(60, gt=0)
    idle_ttl_max_s: float = Field(86_400, gt=0)
    max_age_s: float = Field(86_400, ge=1)
    max_age_max_s: float = Field(7 * 86_400, ge=1)
    sweep_interval_s: float = Field(1.0, gt=0)
    reap_interval_s: float = Field(15, gt=0)
    record_retention_s: float = Field(86_400, ge=0)
    start_timeout_s: float = Field(30, gt=0)
    start_concurrency: int = Field(4, ge=1)
    open_wait_s: float = Field(10, gt=0)
    pool_size: int = Field(2, ge=0)
    pool_max: int = Field(8, ge=0)
    max_sessions: int = Field(64, ge=1)

    quota_sessions: int | None = Field(None, ge=0)
    quota_executions: int | None = Field(256, ge=0)
    quota_requests_per_s: float | None = Field(1000, gt=0)
    quota_stored_bytes: int | None = Field(16 * 1024 * MIB, ge=0)
    quota_stored_files: int | None = Field(100_000, ge=0)
    quota_cpu_seconds_per_day: float | None = Field(None, ge=0)
    audit_file_bytes: int = Field(64 * MIB, ge=1024)
    audit_total_bytes: int = Field(2048 * MIB, ge=1024)
    audit_record_tenants: Annotated[tuple[str, ...], NoDecode] = ()

    max_code_bytes: int = Field(1 * MIB, ge=1)
    max_upload_bytes: int = Field(512 * MIB, ge=1)
    max_artifact_bytes: int = Field(512 * MIB, ge=1)
    max_artifacts: int = Field(100, ge=0)
    max_session_artifacts: int = Field(10_000, ge=0)
    artifact_retention_s: float = Field(7 * 86_400, ge=0)
    link_ttl_s: float = Field(86_400, gt=0)
    queue_length: int = Field(32, ge=1)
    history_length: int = Field(1000, ge=1)
    max_ended_sessions: int = Field(10_000, ge=1)
    max_event_bytes: int = Field(16 * MIB, ge=1)
    max_session_result_bytes: int = Field(32 * MIB, ge=0)
    max_tenant_result_bytes: int = Field(256 * MIB, ge=0)
    max_connections: int = Field(4096, ge=1)
    max_head_bytes: int = Field(32 * 1024, ge=1024)
    head_timeout_s: float = Field(15.0, gt=0)
    interrupt_grace_s: float = Field(2.0, gt=0)
    keepalive_s: float = Field(10.0, gt=0)
    stall_timeout_s: float = Field(60, gt=0)
    return_s: float = Field(30, gt=0)
    idempotency_retention_s: float = Field(86_400, ge=0)
    max_idempotency_keys: int = Field(100_000, ge=1)

    @field_validator("api_keys", mode="before")
    @classmethod
    def _split_keys(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        pairs = [pair.strip() for pair in value.split(",") if pair.strip()]
        if any(":" not in pair for pair in pairs):
            raise ValueError("must be tenant:key pairs, separated by commas")
        return tuple(tuple(part.strip() for part in pair.split(":", 1)) for pair in pairs)

    @field_validator("api_keys")
    @classmethod
    def _check_keys(cls, value: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
        """The message must not show a key."""
        if any(not is_tenant_name(tenant) for tenant, _ in value):
            raise ValueError("a tenant's name must be 1 to 128 printable characters")
        if any(not key for _, key in value):
            raise ValueError("a tenant's key must not be empty")
        if len({key for _, key in value}) < len({*value}):
            raise ValueError("two tenants must not have the same key")
        return value

    @field_validator("audit_record_tenants", mode="before")
    @classmethod
    def _split_names(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        return tuple(name.strip() for name in value.split(",") if name.strip())

    @field_validator(
        "quota_sessions",
        "quota_executions",
        "quota_requests_per_s",
        "quota_stored_bytes",
        "quota_stored_files",
        "quota_cpu_seconds_per_day",
        mode="before",
    )
    @classmethod
    def _none_is_no_limit(cls, value: object) -> object:
        return None if value == "none" else value

    @field_validator("data_dir")
    @classmethod
    def _default_data_dir(cls, value: Path) -> Path:
        return value if value != Path() else _state_home() / "sandbox-service"

    @field_validator("runtime_dir")
    @classmethod
    def _default_runtime_dir(cls, value: Path) -> Path:
        return value if value != Path() else _runtime_home() / "sandbox-service"

    @cached_property
    def all_templates(self) -> dict[str, Template]:
        """By name; the first is what a caller gets who names none."""
        return {template.name: template for template in (self.template, *self.templates)}

    @cached_property
    def is_loopback(self) -> bool:
        return self.host in {"127.0.0.1", "::1", "localhost"}


def require_loopback(settings: Settings) -> None:
    """For a service without any key. Raises SettingsError when others could reach it."""
    if not settings.is_loopback:
        raise SettingsError(
            f"there must be a key to listen on {settings.host}: without keys the service binds "
            "loopback only. Make one with `sandbox-service keys create`, or set SANDBOX_API_KEYS"
        )


def load_settings(**overrides: object) -> Settings:
    """The settings of the environment, with `overrides` on top. Raises SettingsError."""
    _refuse_unknown_names()
    try:
        settings = Settings(**overrides)  # type: ignore[arg-type]
    except ValidationError as error:
        raise SettingsError(_describe(error)) from error
    _check(settings)
    return settings


def _refuse_unknown_names() -> None:
    known = {PREFIX + name.upper() for name in Settings.model_fields} | FOREIGN_NAMES
    given = {name for name in os.environ if name.startswith(PREFIX)}
    unknown = sorted(given - known)
    if unknown:
        raise SettingsError(f"unknown setting: {', '.join(unknown)}")


def _check(settings: Settings) -> None:
    if len(settings.all_templates) != 1 + len(settings.templates):
        raise SettingsError("SANDBOX_TEMPLATES: two templates have the same name")
    if settings.workers > 1 and settings.redis_url is None:
        raise SettingsError("SANDBOX_WORKERS: several processes need SANDBOX_REDIS_URL")
    if not settings.idle_ttl_min_s <= settings.idle_ttl_s <= settings.idle_ttl_max_s:
        raise SettingsError(
            "SANDBOX_IDLE_TTL_S must lie between SANDBOX_IDLE_TTL_MIN_S and SANDBOX_IDLE_TTL_MAX_S"
        )


def _describe(error: ValidationError) -> str:
    parts = []
    for item in error.errors():
        field = "_".join(str(part) for part in item["loc"]).upper()
        parts.append(f"{PREFIX}{field}: {item['msg'].removeprefix('Value error, ')}")
    return "; ".join(parts)


def _state_home() -> Path:
    if os.geteuid() == 0:
        return Path("/var/lib")
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state")


def _runtime_home() -> Path:
    if os.geteuid() == 0:
        return Path("/run")
    return Path(os.environ.get("XDG_RUNTIME_DIR") or f"/tmp/user-{os.geteuid()}")  # noqa: S108
