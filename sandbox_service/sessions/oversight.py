"""Sessions and executions held against their tenant's quotas, and written down in the audit log."""

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from sandbox_service.domain.errors import ServiceError
from sandbox_service.domain.json_values import RawJson, clean_text
from sandbox_service.domain.ports import Clock, NoMeter, SandboxMeter
from sandbox_service.domain.tenancy import (
    CALLER,
    AuditLog,
    Caller,
    Held,
    NoAudit,
    NoQuotas,
    Quotas,
)
from sandbox_service.domain.values import (
    ArtifactRecord,
    ExecutionRecord,
    Output,
    SandboxRef,
    SessionRecord,
    SessionStatus,
)

logger = logging.getLogger(__name__)

NAMED_FILES = 10
LONGEST_PATH = 120
"""Of an execution's files, what the audit log has of them beside their number and size."""


@dataclass(frozen=True, slots=True)
class Oversight:
    """What is counted and written down at each step of a session's life.

    Code goes into the log as its hash; the code itself only of `recorded_tenants`.
    """

    clock: Clock
    quotas: Quotas = field(default_factory=NoQuotas)
    audit: AuditLog = field(default_factory=NoAudit)
    recorded_tenants: frozenset[str] = frozenset()
    meter: SandboxMeter = field(default_factory=NoMeter)

    async def claim_session(self, record: SessionRecord) -> None:
        """Raises RateLimited `quota_sessions`."""
        await self.quotas.claim(record.tenant, Held.SESSIONS, record.id)

    def session_opened(self, record: SessionRecord) -> None:
        caller = CALLER.get()
        self.audit.record(
            "session.opened",
            tenant=record.tenant,
            key_id=caller.key_id,
            address=caller.address,
            session_id=record.id,
            template=record.template,
            runtime=record.runtime,
            sandbox_id=record.sandbox.sandbox_id if record.sandbox else None,
            limits=record.limits.model_dump(),
        )

    def session_ended(self, record: SessionRecord) -> None:
        """Only a closed one was ended by its caller; the others end by themselves."""
        is_by_caller = record.status is SessionStatus.CLOSED
        caller = CALLER.get() if is_by_caller else Caller()
        self.audit.record(
            f"session.{record.status.value}",
            tenant=record.tenant,
            key_id=caller.key_id,
            address=caller.address,
            session_id=record.id,
        )

    async def release_session(self, record: SessionRecord) -> None:
        """Whoever is told of the end can open another one at once, on any replica."""
        self.quotas.release(record.tenant, Held.SESSIONS, record.id)
        await self.quotas.flush()

    async def read_meter(self, tenant: str, ref: SandboxRef | None) -> None:
        """Count the CPU seconds that a sandbox has used since it was last asked, between cells as well.

        To be called often: asked twice, or by two replicas, it counts nothing twice.
        """
        if ref is None or not self.meter.counts_cpu:
            return
        try:
            total_s = await self.meter.cpu_s(ref)
        except ServiceError as error:
            logger.warning("meter_not_read sandbox=%s %s", ref.sandbox_id, error.code)
            return
        if total_s is not None:
            self.quotas.meter_cpu(tenant, ref.sandbox_id, total_s)

    async def claim_execution(self, record: ExecutionRecord) -> None:
        """Raises RateLimited `quota_executions` or `quota_cpu_seconds`."""
        await self.quotas.require_cpu(record.tenant)
        await self.quotas.claim(record.tenant, Held.EXECUTIONS, record.id)

    async def release_execution(self, record: ExecutionRecord) -> None:
        """Before its end is told, as with sessions: also when another replica then ends it again."""
        self.quotas.release(record.tenant, Held.EXECUTIONS, record.id)
        await self.quotas.flush()

    def execution_ended(self, record: ExecutionRecord) -> None:
        """Where no meter counts CPU seconds, they are all that it can have used: its time, on all its CPUs."""
        duration_s = self._duration_s(record)
        if not self.meter.counts_cpu:
            self.quotas.spend_cpu(record.tenant, duration_s * record.terms.cpus)
        self.audit.record(
            "execution.finished",
            tenant=record.tenant,
            key_id=record.terms.key_id,
            address=record.terms.address,
            session_id=record.session_id,
            execution_id=record.id,
            status=record.status.value,
            **self._code(record),
            duration_s=round(duration_s, 6),
            output_bytes=output_size(record.outputs),
            files=_files(record.artifacts),
            files_count=len(record.artifacts) or None,
            files_bytes=sum(artifact.size for artifact in record.artifacts) or None,
        )

    def _duration_s(self, record: ExecutionRecord) -> float:
        """Also of one that was cut off while it ran."""
        if record.duration_s is not None:
            return record.duration_s
        if record.started_at is None:
            return 0.0
        return max(0.0, (self.clock.now() - record.started_at).total_seconds())

    def _code(self, record: ExecutionRecord) -> dict[str, Any]:
        code = record.code.encode("utf-8", "replace")
        about = {"code_sha256": hashlib.sha256(code).hexdigest(), "code_bytes": len(code)}
        if record.tenant in self.recorded_tenants:
            return {**about, "code": clean_text(record.code)}
        return about


def _files(artifacts: Sequence[ArtifactRecord]) -> list[dict[str, Any]] | None:
    """The first ones by name: a cell may make many, with long names."""
    named = artifacts[:NAMED_FILES]
    files = [{"path": _short(a.path), "size": a.size, "sha256": a.sha256} for a in named]
    return files or None


def _short(path: str) -> str:
    if len(path) <= LONGEST_PATH:
        return path
    half = LONGEST_PATH // 2
    return f"{path[:half]}\N{HORIZONTAL ELLIPSIS}{path[-half:]}"


def output_size(outputs: Sequence[Output]) -> int:
    """Bytes of the text and data in the outputs."""
    return sum(_size(value) for node in outputs for value in _contents(node))


def _contents(node: Output) -> list[Any]:
    data = node.get("data")
    if isinstance(data, dict):
        return list(data.values())
    return [node.get("text", ""), node.get("evalue", ""), *node.get("traceback", ())]


def _size(value: Any) -> int:
    if isinstance(value, str):
        return len(value) if value.isascii() else len(value.encode("utf-8", "replace"))
    return len(value.raw) if isinstance(value, RawJson) else len(orjson.dumps(value))
