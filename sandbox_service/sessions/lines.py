"""The lines that this process holds open to the sandboxes of sessions, whoever started those."""

import asyncio
from collections import defaultdict
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass

from sandbox_service.domain.errors import SandboxLost, ServiceError
from sandbox_service.domain.ports import Sandbox, SandboxBackend
from sandbox_service.domain.values import SandboxRef, SessionRecord

LONGEST_OPEN_S = 15.0
"""Also for who waits behind others that find it silent, one after another."""


@dataclass(slots=True)
class Line:
    """An open line. `oom_kills` is how many the engine had counted when it was asked last."""

    ref: SandboxRef
    sandbox: Sandbox
    oom_kills: int = 0


class SandboxLines:
    """One line per session, opened when it is first needed and replaced when the sandbox was."""

    def __init__(self, backend: SandboxBackend) -> None:
        self._backend = backend
        self._lines: dict[str, Line] = {}
        # Each protects the opening of one session's line.
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    def put(self, session_id: str, ref: SandboxRef, sandbox: Sandbox) -> Line:
        """Keep a line that is open already, to a sandbox that has run nothing yet."""
        line = self._lines[session_id] = Line(ref, sandbox)
        return line

    async def to(self, session: SessionRecord) -> Line:
        """The line to the session's sandbox. Raises SandboxLost when that does not answer."""
        line = self._open_one(session)
        if line is not None:
            return line
        try:
            async with asyncio.timeout(LONGEST_OPEN_S), self._locks[session.id]:
                return self._open_one(session) or await self._open(session)
        except TimeoutError:
            raise SandboxLost("The sandbox does not answer.") from None

    def _open_one(self, session: SessionRecord) -> Line | None:
        line = self._lines.get(session.id)
        is_current = line and session.sandbox and line.ref.sandbox_id == session.sandbox.sandbox_id
        return line if is_current else None

    async def _open(self, session: SessionRecord) -> Line:
        if session.sandbox is None:
            raise SandboxLost(f"Session {session.id} has no sandbox.")
        await self.close(session.id)
        sandbox = await self._backend.connect(session.sandbox)
        line = self._lines[session.id] = Line(session.sandbox, sandbox)
        with suppress(ServiceError):  # an engine that is away: the count starts at nothing
            line.oom_kills = (await self._backend.report(session.sandbox)).oom_kills
        return line

    def oom_kills(self, session: SessionRecord) -> int:
        """How many memory kills are known of the session's sandbox."""
        line = self._open_one(session)
        return 0 if line is None else line.oom_kills

    async def close(self, session_id: str) -> None:
        """Close the session's line, if there is one; its sandbox goes on."""
        line = self._lines.pop(session_id, None)
        if line is not None:
            await line.sandbox.close()

    @property
    def session_ids(self) -> frozenset[str]:
        """The sessions that a line is open to."""
        return frozenset(self._lines)

    async def close_all(self, session_ids: Collection[str]) -> None:
        """Close the lines of these sessions."""
        for session_id in session_ids:
            self._locks.pop(session_id, None)
            await self.close(session_id)

    async def aclose(self) -> None:
        await self.close_all(self.session_ids)
