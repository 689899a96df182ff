"""A new sandbox for a session whose old one went as a whole for want of memory, as gVisor's do."""

import asyncio

from sandbox_service.domain.ports import SandboxBackend
from sandbox_service.domain.values import SandboxState, SessionRecord
from sandbox_service.sessions.ending import SessionEnder
from sandbox_service.sessions.live import LiveSession
from sandbox_service.sessions.provisioning import Provisioned
from sandbox_service.sessions.records import SessionRecords, require_live
from sandbox_service.sessions.source import SandboxSource
from sandbox_service.sessions.terms import touched

ENGINE_WORD_TRIES = 10
ENGINE_WORD_STEP_S = 0.1


class Reviver:
    """Takes the engine's word, and nobody else's, for why a sandbox is gone."""

    def __init__(
        self,
        records: SessionRecords,
        backend: SandboxBackend,
        source: SandboxSource,
        ender: SessionEnder,
    ) -> None:
        self._records = records
        self._backend = backend
        self._source = source
        self._ender = ender

    async def revive(self, live: LiveSession) -> SessionRecord | None:
        """Put the session on a new sandbox, with the epoch raised and an empty workspace.

        None when the engine does not say that memory took the old one. Raises what a start raises.
        """
        if not await self._died_of_memory(live):
            return None
        record = await self._records.change(live.session_id, _still_live)
        provisioned = await self._source.provide(record)
        lost, live.ref = live.ref, provisioned.ref
        old_line, live.sandbox = live.sandbox, provisioned.sandbox
        live.incarnation, live.oom_kills = 1, 0
        await old_line.close()
        await self._ender.stop_sandbox(lost)
        return await self._moved(live, provisioned)

    async def _died_of_memory(self, live: LiveSession) -> bool:
        """The engine may still be taking note of the end when the line breaks."""
        for _ in range(ENGINE_WORD_TRIES):
            report = await self._backend.report(live.ref)
            if report.state is not SandboxState.RUNNING:
                return report.oom_kills > live.oom_kills
            await asyncio.sleep(ENGINE_WORD_STEP_S)
        return False

    async def _moved(self, live: LiveSession, provisioned: Provisioned) -> SessionRecord:
        now = self._records.clock.now()

        def change(record: SessionRecord) -> SessionRecord:
            moved = {"sandbox": provisioned.ref, "epoch": record.epoch + 1}
            return touched(_still_live(record).model_copy(update=moved), now)

        return await self._records.change(live.session_id, change)


def _still_live(record: SessionRecord) -> SessionRecord:
    require_live(record)
    return record
