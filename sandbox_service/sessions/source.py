"""Where a session's sandbox comes from: the template's warm pool, or a cold start."""

from sandbox_service.domain.ids import new_id
from sandbox_service.domain.ports import SandboxHost
from sandbox_service.domain.values import (
    LimitsRequest,
    SandboxRef,
    SandboxSpec,
    SessionRecord,
    Template,
)
from sandbox_service.sessions.pool import WarmPool
from sandbox_service.sessions.provisioning import Provisioned, Provisioner
from sandbox_service.sessions.records import SessionRecords, require_same_opening
from sandbox_service.sessions.terms import require_room


class SandboxSource:
    """Provides sandboxes for sessions whose record is written already."""

    def __init__(
        self,
        records: SessionRecords,
        provisioner: Provisioner,
        host: SandboxHost,
        pools: dict[str, WarmPool],
        templates: dict[str, Template],
    ) -> None:
        self._records = records
        self._provisioner = provisioner
        self._host = host
        self._pools = pools
        self._templates = templates

    async def require_room(self, asked: LimitsRequest, template: Template) -> None:
        """Raises InvalidRequest for limits that the engine cannot give, and EngineUnavailable."""
        if asked.cpus is None and asked.memory_bytes is None:
            return
        capacity = await self._host.capacity(template)
        if capacity is not None:
            require_room(asked, capacity)

    async def provide(self, record: SessionRecord) -> Provisioned:
        """A sandbox with the record's template and limits, up and connected.

        Raises SandboxStartFailed, RuntimeUnavailable, EngineUnavailable.
        """
        pool = self._pools.get(record.template)
        warm = await pool.claim(record.limits) if pool is not None else None
        return warm or await self._start_cold(record)

    async def _start_cold(self, record: SessionRecord) -> Provisioned:
        spec = SandboxSpec(
            sandbox_id=new_id("box"),
            template=self._templates[record.template],
            limits=record.limits,
            labels={"session": record.id, "tenant": record.tenant},
        )
        made: SandboxRef | None = None

        def note(current: SessionRecord) -> SessionRecord:
            require_same_opening(current, record)
            return current.model_copy(update={"starting": made})

        async def checkpoint(ref: SandboxRef) -> None:
            nonlocal made
            made = ref
            await self._records.change(record.id, note)

        return await self._provisioner.start(spec, checkpoint)
