"""What of a conversation outlives its session and its process: which files the next session gets."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from sandbox_service.client import Artifact, NotFound, SandboxClient, Session

RESTORED_BYTES = 64 * 1024 * 1024
"""Larger files that the code made are not put into a replacing session."""

VERSION = 1
"""Of the form of a state."""

FileSources = Mapping[str, str | Path] | Iterable[str | Path]
"""Local files under the names that they get in the workspace, or under their own."""

REASONS = {
    "session_expired": "it was not used for too long",
    "session_closed": "it was closed",
    "session_lost": "its sandbox failed",
    "sandbox_lost": "its sandbox failed",
}


@dataclass(frozen=True, slots=True)
class MadeFile:
    """The latest version of a file that the code made: which artifact it is."""

    id: str
    size: int
    url: str


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
    made: dict[str, MadeFile] = field(default_factory=dict)
    urls: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        self.urls = {path: made.url for path, made in self.made.items()}

    def remember(self, artifact: Artifact) -> None:
        """Keep the latest version of a file that the code made."""
        self.made[artifact.path] = MadeFile(artifact.id, artifact.size, artifact.url)
        self.urls[artifact.path] = artifact.url

    async def refresh_links(self, client: SandboxClient) -> None:
        """Ask anew for the links of every file that is still kept."""
        for made in list(self.made.values()):
            try:
                self.remember(await client.artifact(made.id))
            except NotFound:
                continue

    def end_session(self, code: str, message: str) -> None:
        """The session is over; the service's error code says why."""
        self.session_id, self.over = None, REASONS.get(code, message)

    def begin_session(self, session: Session, filled: "Filled") -> None:
        """A session is open and filled; if it replaces another, that is news for the model."""
        self.session_id = session.id
        if self.over:
            self.news, self.over = _news_of_new_session(self.over, filled), ""

    async def fill(self, client: SandboxClient, session: Session) -> "Filled":
        """Put the person's files and those that the code made into a new session's workspace.

        A given file of which the code made a new version comes in that version.
        """
        filled = Filled()
        for name in dict.fromkeys([*self.files, *self.made]):
            is_there = await self._put_back(client, session, name) or await self._put(session, name)
            filled.note(name, is_there)
        return filled

    async def _put_back(self, client: SandboxClient, session: Session, name: str) -> bool:
        """Whether the file that the code made is there: it may be too large, or kept no longer."""
        made = self.made.get(name)
        if made is None or made.size > RESTORED_BYTES:
            return False
        try:
            artifact = await client.artifact(made.id)
            await session.upload(await artifact.read(), name)
        except NotFound:
            return False
        self.remember(artifact)
        return True

    async def _put(self, session: Session, name: str) -> bool:
        """Whether the given file is there: later it may have gone from where it was."""
        if name not in self.files or (self.over and not self.files[name].is_file()):
            return False
        await session.upload(self.files[name], name)
        return True

    def state(self) -> dict[str, Any]:
        """The conversation as plain JSON. Holds ids, paths and links, no content and no key."""
        return {
            "version": VERSION,
            "session_id": self.session_id,
            "over": self.over,
            "news": self.news,
            "files": {name: str(path) for name, path in self.files.items()},
            "made": {path: asdict(made) for path, made in self.made.items()},
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """A conversation as `state` describes it. Raises ValueError when it was not made by us."""
        if state.get("version") != VERSION:
            raise ValueError(f"not a state of this version: {state.get('version')!r}")
        files = {name: Path(path) for name, path in state["files"].items()}
        made = {path: MadeFile(**kept) for path, kept in state["made"].items()}
        return cls(files, state["session_id"], state["over"], state["news"], made)


@dataclass(slots=True)
class Filled:
    """Names of the files that were put into a new session, and of those that could not be."""

    restored: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)

    def note(self, name: str, is_there: bool) -> None:
        (self.restored if is_there else self.missing).append(name)


def named_files(sources: FileSources) -> dict[str, Path]:
    """Each file under the name that it gets in the workspace."""
    if isinstance(sources, Mapping):
        return {name: Path(path) for name, path in sources.items()}
    return {Path(path).name: Path(path) for path in sources}


def _news_of_new_session(reason: str, filled: Filled) -> str:
    files = (
        f"files restored: {', '.join(filled.restored)}" if filled.restored else "there are no files"
    )
    missing = f", not restored: {', '.join(filled.missing)}" if filled.missing else ""
    return (
        f"A new session was opened, since the one before is over: {reason}. "
        f"Variables and imports are gone; {files}{missing}."
    )
