"""The files of a session that was replaced, to be put into the next one."""

import contextlib
from collections.abc import Iterable

from sandbox_service.client import Artifact, ClientError, Session

LARGEST_ARTIFACT_BYTES = 64 * 1024 * 1024
"""Larger files that the code made are not put into a replacing session."""
MOST_UPLOADED_BYTES = 64 * 1024 * 1024
"""Of all uploads together, which are held in memory until the conversation ends."""


class Belongings:
    """The latest version of each file: uploads by content, what the code made by its artifact."""

    def __init__(self) -> None:
        self._files: dict[str, bytes | Artifact] = {}

    def add_upload(self, path: str, content: bytes) -> None:
        """Remember an upload, if there is room for it."""
        self._files.pop(path, None)
        held = sum(len(file) for file in self._files.values() if isinstance(file, bytes))
        if held + len(content) <= MOST_UPLOADED_BYTES:
            self._files[path] = content

    def add_artifacts(self, artifacts: Iterable[Artifact]) -> None:
        """Remember where files can be had again."""
        for artifact in artifacts:
            self._files[artifact.path] = artifact

    async def put_into(self, session: Session) -> list[str]:
        """Put everything into `session`; returns the names of what could be."""
        return [path for path, file in self._files.items() if await _was_put(session, path, file)]


async def _was_put(session: Session, path: str, file: bytes | Artifact) -> bool:
    """Whether the file is there: an artifact may be too large, or kept no longer."""
    if isinstance(file, Artifact) and file.size > LARGEST_ARTIFACT_BYTES:
        return False
    with contextlib.suppress(ClientError):
        content = file if isinstance(file, bytes) else await file.read()
        await session.upload(content, path)
        return True
    return False
