"""What of a conversation outlives its session and its process: which files the next session gets."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sandbox_service.client import Artifact, NotFound, SandboxClient, Session
from sandbox_service.client.parsing import parse_artifact

RESTORED_BYTES = 64 * 1024 * 1024
"""Larger files that the code made are not put into a replacing session."""

FileSources = Mapping[str, str | Path] | Iterable[str | Path]
"""Local files under the names that they get in the workspace, or under their own."""

REASONS = {
    "session_expired": "it was not used for too long",
    "session_closed": "it was closed",
    "session_lost": "its sandbox failed",
    "sandbox_lost": "its sandbox failed",
}


@dataclass(slots=True)
class Conversation:
    """A conversation's session, and the files that it would need if that session were over.

    `over` says why the session before is over until it is replaced; `news` is what the model must
    be told of the new one.
    """

    files: dict[str, Path] = field(default_factory=dict)
    session_id: str | None = None
    over: str = ""
    news: str = ""
    made: dict[str, Artifact] = field(default_factory=dict, init=False)
    urls: dict[str, str] = field(default_factory=dict, init=False)

    def remember(self, artifact: Artifact) -> None:
        """Keep the latest version of a file that the code made."""
        self.made[artifact.path] = artifact
        self.urls[artifact.path] = artifact.url

    def end_session(self, code: str, message: str) -> None:
        """The session is over; the service's error code says why."""
        self.session_id, self.over = None, REASONS.get(code, message)

    def begin_session(self, session: Session, filled: "Filled") -> None:
        """A session is open and filled; if it replaces another, that is news for the model."""
        self.session_id = session.id
        if self.over:
            self.news, self.over = _news_of_new_session(self.over, filled), ""

    async def fill(self, session: Session) -> "Filled":
        """Put the person's files and those that the code made into a new session's workspace.

        A given file of which the code made a new version comes in that version.
        """
        filled = Filled()
        for name in dict.fromkeys([*self.files, *self.made]):
            filled.note(name, await self._put(session, name))
        return filled

    async def _put(self, session: Session, name: str) -> bool:
        """Whether the file could be put there: it may be too large, or kept no longer."""
        if name in self.made and await _restored(session, self.made[name]):
            return True
        if name not in self.files or (self.over and not self.files[name].is_file()):
            return False
        await session.upload(self.files[name], name)
        return True

    def state(self) -> dict[str, Any]:
        """The conversation as plain JSON. Holds ids and paths, no content and no key."""
        return {
            "version": 1,
            "session_id": self.session_id,
            "over": self.over,
            "news": self.news,
            "files": {name: str(path) for name, path in self.files.items()},
            "made": [_artifact_state(artifact) for artifact in self.made.values()],
        }


@dataclass(slots=True)
class Filled:
    """Names of the files that were put into a new session, and of those that could not be."""

    restored: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)

    def note(self, name: str, is_there: bool) -> None:
        (self.restored if is_there else self.missing).append(name)


def conversation_of(state: Mapping[str, Any], client: SandboxClient) -> Conversation:
    """A conversation as `state` describes it. Raises ValueError when it was not made by us."""
    if state.get("version") != 1:
        raise ValueError(f"not a state of this version: {state.get('version')!r}")
    files = {name: Path(path) for name, path in state["files"].items()}
    conversation = Conversation(files, state["session_id"], state["over"], state["news"])
    for body in state["made"]:
        conversation.remember(parse_artifact(body, client._transport))
    return conversation


def named_files(sources: FileSources) -> dict[str, Path]:
    """Each file under the name that it gets in the workspace."""
    if isinstance(sources, Mapping):
        return {name: Path(path) for name, path in sources.items()}
    return {Path(path).name: Path(path) for path in sources}


def _artifact_state(artifact: Artifact) -> dict[str, Any]:
    kept = ("id", "path", "size", "media_type", "sha256", "url")
    return {name: getattr(artifact, name) for name in kept}


async def _restored(session: Session, artifact: Artifact) -> bool:
    if artifact.size > RESTORED_BYTES:
        return False
    try:
        await session.upload(await artifact.read(), artifact.path)
    except NotFound:
        return False
    return True


def _news_of_new_session(reason: str, filled: Filled) -> str:
    files = (
        f"files restored: {', '.join(filled.restored)}" if filled.restored else "there are no files"
    )
    missing = f", not restored: {', '.join(filled.missing)}" if filled.missing else ""
    return (
        f"A new session was opened, since the one before is over: {reason}. "
        f"Variables and imports are gone; {files}{missing}."
    )
