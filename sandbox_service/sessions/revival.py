"""A new sandbox for a session whose old one went as a whole for want of memory, as gVisor's do."""

from sandbox_service.domain.errors import LeaseLost
from sandbox_service.domain.ports import SandboxBackend
from sandbox_service.domain.values import SandboxRef, SandboxState, SessionRecord
from sandbox_service.sessions.adoption import Adoption
from sandbox_service.sessions.ending import SessionEnder
from sandbox_service.sessions.lines import SandboxLines
from sandbox_service.sessions.oversight import Oversight
from sandbox_service.sessions.provisioning import Provisioned
from sandbox_service.sessions.records import SessionRecords, require_live
from sandbox_service.sessions.source import SandboxSource
from sandbox_service.sessions.terms import touched

ENGINE_WORD_TRIES = 30
ENGINE_WORD_STEP_S = 0.1


class Reviver:
    """Takes the engine's word, and nobody else's, for why a sandbox is gone."""

    def __init__(
        self,
        records: SessionRecords,
        backend: SandboxBackend,
        lines: SandboxLines,
        source: SandboxSource,
        ender: SessionEnder,
        adoption: Adoption,
        oversight: Oversight,
    ) -> None:
        self._records = records
        self._backend = backend
        self._lines = lines
        self._source = source
        self._ender = ender
        self._adoption = adoption
        self._oversight = oversight

    async def revive(self, session_id: str) -> SessionRecord | None:
        """Put the session on a new sandbox, with the epoch raised and an empty workspace.

        None when the engine does not say that memory took the old one. Raises what a start raises,
        NotFound and SessionGone.
        """
        record = await self._records.change(session_id, _still_live)
        lost = record.sandbox
        if lost is None or not await self._died_of_memory(record, lost):
            return None
        provisioned = await self._source.provide(record)
        await self._lines.close(session_id)
        await self._ender.stop_sandbox(lost)
        try:
            moved = await self._moved(session_id, lost, provisioned)
        except BaseException:
            await provisioned.sandbox.close()
            await self._ender.stop_sandbox(provisioned.ref)
            raise
        self._lines.put(session_id, provisioned.ref, provisioned.sandbox)
        await self._oversight.read_meter(moved.tenant, moved.sandbox)
        await self._adoption.label(moved)
        return moved

    async def _died_of_memory(self, record: SessionRecord, ref: SandboxRef) -> bool:
        """The engine may still be taking note of the end, and of its cause, when the line breaks."""
        known = self._lines.oom_kills(record)
        for _ in range(ENGINE_WORD_TRIES):
            report = await self._backend.report(ref)
            if report.state is not SandboxState.RUNNING and report.oom_kills > known:
                return True
            if report.state is SandboxState.MISSING:
                return False
            await self._records.clock.sleep(ENGINE_WORD_STEP_S)
        return False

    async def _moved(
        self, session_id: str, lost: SandboxRef, provisioned: Provisioned
    ) -> SessionRecord:
        now = self._records.clock.now()

        def change(record: SessionRecord) -> SessionRecord:
            if _still_live(record).sandbox != lost:
                raise LeaseLost(f"Another replica has moved session {session_id}.")
            moved = {
                "sandbox": provisioned.ref,
                "starting": None,
                "epoch": record.epoch + 1,
                "incarnation": 1,
            }
            return touched(record.model_copy(update=moved), now)

        return await self._records.change(session_id, change)


def _still_live(record: SessionRecord) -> SessionRecord:
    require_live(record)
    return record
