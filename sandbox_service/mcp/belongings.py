"""The files of a session, to be put into the one that replaces it."""

import contextlib
from collections.abc import Iterable
from pathlib import Path

from sandbox_service.client import Artifact, ClientError, Session

LARGEST_ARTIFACT_BYTES = 64 * 1024 * 1024
"""Larger files that the code made are not put into a replacing session."""
MOST_UPLOADED_BYTES = 64 * 1024 * 1024
"""Of all uploads together, which are held in memory until the conversation ends."""

File = bytes | Path | Artifact


class Belongings:
    """The latest version of each file: uploads by content or place, what the code made by artifact."""

    def __init__(self) -> None:
        self._files: dict[str, File] = {}

    def add_upload(self, path: str, source: bytes | Path) -> None:
        """Remember an upload, if there is room for it."""
        self._files.pop(path, None)
        held = sum(map(_held_bytes, self._files.values()))
        if held + _held_bytes(source) <= MOST_UPLOADED_BYTES:
            self._files[path] = source

    def add_artifacts(self, artifacts: Iterable[Artifact]) -> None:
        """Remember where files can be had again."""
        for artifact in artifacts:
            self._files[artifact.path] = artifact

    async def put_into(self, session: Session) -> list[str]:
        """Put everything into `session`; returns the names of what could be."""
        return [path for path, file in self._files.items() if await _was_put(session, path, file)]


def _held_bytes(file: File) -> int:
    return len(file) if isinstance(file, bytes) else 0


async def _was_put(session: Session, path: str, file: File) -> bool:
    """Whether the file is there: it may be too large, or be there no longer."""
    if isinstance(file, Artifact) and file.size > LARGEST_ARTIFACT_BYTES:
        return False
    with contextlib.suppress(ClientError, OSError):
        await session.upload(await file.read() if isinstance(file, Artifact) else file, path)
        return True
    return False
