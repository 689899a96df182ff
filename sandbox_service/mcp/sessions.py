"""Which session a call is about: the one that it names, a new one, or the one that is kept."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import anyio

from sandbox_service.client import ClientError, ExecutionResult, SandboxClient, Session
from sandbox_service.client.wording import news_of_new_session
from sandbox_service.mcp.belongings import Belongings
from sandbox_service.mcp.failures import CutShort, reason_of

CLOSE_TIMEOUT_S = 5.0
METADATA = {"opened_by": "mcp"}


@dataclass(frozen=True, slots=True)
class Opened:
    """A session for one call, and what the model must be told of it."""

    session: Session
    news: str = ""


class Sessions(Protocol):
    """Finds the session of a call."""

    def opened(self, session_id: str) -> contextlib.AbstractAsyncContextManager[Opened]:
        """The session with this id, or the one that is meant when there is none."""
        ...

    def let_go(self, session: Session, error: ClientError) -> bool:
        """Whether a session that is over is replaced at the next call."""
        ...

    def note_upload(self, session: Session, path: str, source: bytes | Path) -> None:
        """Take note of a file that was put into a session."""
        ...

    def note_result(self, session: Session, result: ExecutionResult) -> None:
        """Take note of what an execution made."""
        ...


class NamedSessions:
    """No session is kept: a call without one opens one, and its result names it.

    This is for HTTP, where the next call may come to another process.
    """

    def __init__(self, client: SandboxClient) -> None:
        self._client = client

    @contextlib.asynccontextmanager
    async def opened(self, session_id: str) -> AsyncIterator[Opened]:
        """A session that this call opens is closed again if the call fails: nobody knows its id."""
        if session_id:
            yield Opened(self._client.session(session_id))
            return
        session = await self._client.new_session(metadata=METADATA)
        try:
            yield Opened(session)
        except BaseException as error:
            if not (isinstance(error, CutShort) and error.may_run_on):
                await closed(session)
            raise

    def let_go(self, session: Session, error: ClientError) -> bool:
        """Never: who named it is told."""
        return False

    def note_upload(self, session: Session, path: str, source: bytes | Path) -> None:
        """Nothing is kept."""

    def note_result(self, session: Session, result: ExecutionResult) -> None:
        """Nothing is kept."""


class KeptSession:
    """One session for a whole conversation, opened on first use and replaced when it is over.

    The files that were uploaded or made are put into the one that replaces it.
    """

    def __init__(self, client: SandboxClient) -> None:
        self._client = client
        self._session: Session | None = None
        self._ids: set[str] = set()
        self._belongings = Belongings()
        self._over = ""
        self._lock = asyncio.Lock()
        """Two calls at once open one session."""

    @contextlib.asynccontextmanager
    async def opened(self, session_id: str) -> AsyncIterator[Opened]:
        """The kept session, also under the id of one that it replaced; else the one of that id."""
        if session_id and session_id not in self._ids:
            yield Opened(self._client.session(session_id))
            return
        async with self._lock:
            opened = await self._current()
        yield opened

    async def close(self) -> None:
        """Close the session, if there is one."""
        if self._session is not None:
            await closed(self._session)

    def let_go(self, session: Session, error: ClientError) -> bool:
        """True for the kept one; another call may have replaced it already."""
        if self._session is session:
            self._session, self._over = None, reason_of(error)
        return session.id in self._ids

    def note_upload(self, session: Session, path: str, source: bytes | Path) -> None:
        if session.id in self._ids:
            self._belongings.add_upload(path, source)

    def note_result(self, session: Session, result: ExecutionResult) -> None:
        if session.id in self._ids:
            self._belongings.add_artifacts(result.artifacts)

    async def _current(self) -> Opened:
        if self._session is not None:
            return Opened(self._session)
        session = await self._client.new_session(metadata=METADATA)
        try:
            restored = await self._belongings.put_into(session) if self._over else []
        except BaseException:
            await closed(session)
            raise
        self._session = session
        self._ids.add(session.id)
        over, self._over = self._over, ""
        return Opened(session, news_of_new_session(over, restored) if over else "")


async def closed(session: Session) -> None:
    """Close the session, also while the call is being cancelled; one that cannot be will expire."""
    with anyio.move_on_after(CLOSE_TIMEOUT_S, shield=True), contextlib.suppress(ClientError):
        await session.close()
