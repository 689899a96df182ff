"""Cancellation of the older protocol era over HTTP, where it comes as a request of its own.

The newest revision cancels a call by closing its connection. The older one sends a notification,
which may reach another process than the call. So each such call lays a slip, an empty file, into a
directory that the processes of a service share; whoever receives the notification takes it away.
"""

import asyncio
import contextlib
import hashlib
import json
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import anyio
from mcp.server.streamable_http import REQUEST_CANCELLED
from mcp.shared.exceptions import MCPError

from sandbox_service.private_files import make_private_directory

LOOK_EVERY_S = 0.1
STALE_S = 24 * 3600.0
"""A slip that is left over from a process that was killed."""


@dataclass(frozen=True, slots=True)
class CallName:
    """What a caller names a call by: request ids count from zero again in every client."""

    authorization: str
    client_session: str
    request_id: str | int

    @property
    def digest(self) -> str:
        """A file name that only who has the same key can know."""
        parts = json.dumps([self.authorization, self.client_session, self.request_id])
        return hashlib.sha256(parts.encode()).hexdigest()


class Slips:
    """The slips of the calls that run now, one directory for all processes of a service."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._is_swept = False

    def take_away(self, name: CallName) -> None:
        """Cancel the call; one that is not running is no fault."""
        (self._directory / name.digest).unlink(missing_ok=True)

    @contextlib.asynccontextmanager
    async def cancellable(self, name: CallName) -> AsyncIterator[None]:
        """The block, stopped when its slip is taken away. Raises MCPError then."""
        with self._laid(name) as slip, anyio.CancelScope() as scope:
            watching = asyncio.create_task(_watch(slip, scope))
            try:
                yield
            finally:
                watching.cancel()
        if scope.cancelled_caught:
            raise MCPError(REQUEST_CANCELLED, "The request was cancelled.")

    @contextlib.contextmanager
    def _laid(self, name: CallName) -> Iterator[Path]:
        self._sweep()
        slip = self._directory / name.digest
        slip.touch(mode=0o600)
        try:
            yield slip
        finally:
            slip.unlink(missing_ok=True)

    def _sweep(self) -> None:
        """Make the directory, and remove what killed processes left in it, once."""
        if self._is_swept:
            return
        make_private_directory(self._directory)
        for slip in self._directory.iterdir():
            with contextlib.suppress(FileNotFoundError):
                if slip.stat().st_mtime < time.time() - STALE_S:
                    slip.unlink()
        self._is_swept = True


async def _watch(slip: Path, scope: anyio.CancelScope) -> None:
    while slip.exists():  # noqa: ASYNC110, ASYNC240 - other processes can signal in no other way
        await asyncio.sleep(LOOK_EVERY_S)
    scope.cancel()
