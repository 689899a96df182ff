"""Conversations on disk: one file of JSON lines each, appended to as the conversation grows."""

import fcntl
import json
import os
import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from runner.limits import TurnUsage
from runner.reply import Message

VERSION = 1
SUFFIX = ".jsonl"
_ID = re.compile(r"[0-9a-z][0-9a-z-]{0,63}")


class HistoryError(Exception):
    """The stored conversation cannot be used; the message says why."""


class Journal(Protocol):
    """Where a conversation is written down."""

    @property
    def messages(self) -> Sequence[Message]:
        """What it holds already."""
        ...

    def note(self, messages: Sequence[Message], state: Mapping[str, Any] | None) -> None:
        """Write down new messages, and the tool's state if it has one and it changed."""
        ...

    def end_turn(self, used: TurnUsage) -> None:
        """Write down what a turn used, and make sure that all of it stays."""
        ...


@dataclass(frozen=True, slots=True)
class Record:
    """What a file holds: messages in their order, the tool's latest state, what each turn used."""

    id: str
    created_at: str = ""
    messages: list[Message] = field(default_factory=list)
    state: dict[str, Any] | None = None
    used: list[dict[str, Any]] = field(default_factory=list)
    length_bytes: int = 0

    @property
    def first_question(self) -> str:
        """The words with which it began."""
        said = (m["content"] for m in self.messages if m["role"] == "user")
        return next((text for text in said if isinstance(text, str)), "")


class History:
    """One stored conversation, held by one process at a time; a context manager.

    The file appears with the first message, readable by its owner only. Whole lines are appended,
    so that a process may end at any moment: a line that was not finished is dropped when the
    conversation is taken up. It holds messages and file names, never a key.
    """

    def __init__(self, path: Path, record: Record, descriptor: int | None = None) -> None:
        self.path = path
        self.id = record.id
        self.state = record.state
        self.messages: list[Message] = record.messages
        self._descriptor = descriptor

    @classmethod
    def create(cls, directory: Path) -> Self:
        """A new conversation, stored below `directory`."""
        name = f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"
        return cls(directory / f"{name}{SUFFIX}", Record(name))

    @classmethod
    def open(cls, path: Path) -> Self:
        """Take up a stored conversation. Raises HistoryError: none, broken, or in use."""
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
        except FileNotFoundError as error:
            raise HistoryError(f"there is no conversation {path.stem}") from error
        try:
            _lock(descriptor, path)
            record = read_record(path)
            os.ftruncate(descriptor, record.length_bytes)
        except BaseException:
            os.close(descriptor)
            raise
        return cls(path, record, descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def note(self, messages: Sequence[Message], state: Mapping[str, Any] | None) -> None:
        """Append messages, and the tool's state if it changed."""
        lines = [{"record": "message", "message": message} for message in messages]
        if state is not None and state != self.state:
            self.state = dict(state)
            lines.append({"record": "tool", "state": self.state})
        self._append(lines)

    def end_turn(self, used: TurnUsage) -> None:
        """Append what a turn used, and wait until all of it is on the disk."""
        self._append([{"record": "turn", "at": _now(), "used": asdict(used)}])
        if self._descriptor is not None:
            os.fsync(self._descriptor)

    def close(self) -> None:
        """Let others take it up."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _append(self, lines: Sequence[Mapping[str, Any]]) -> None:
        if not lines:
            return
        if self._descriptor is None:
            self._descriptor = _created(self.path)
            lines = [_header(self.id), *lines]
        content = memoryview("".join(f"{json.dumps(line)}\n" for line in lines).encode())
        while content:
            content = content[os.write(self._descriptor, content) :]


def read_record(path: Path) -> Record:
    """What a file holds, up to its last whole line. Raises HistoryError."""
    content = path.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    try:
        header, *lines = [json.loads(line) for line in whole.splitlines()]
        if header["record"] != "conversation" or header["version"] != VERSION:
            raise HistoryError(f"{path} is not a conversation of this version")
        return _record_of(header, lines, len(whole))
    except (ValueError, KeyError, TypeError) as error:
        raise HistoryError(f"{path} is no stored conversation: {error!r}") from error


def stored(directory: Path) -> Iterator[Record]:
    """The conversations below `directory`, the one used last first; broken ones are left out."""
    paths = [path for path in directory.glob(f"*{SUFFIX}") if _ID.fullmatch(path.stem)]
    for path in sorted(paths, key=lambda path: path.stat().st_mtime_ns, reverse=True):
        with suppress(HistoryError):
            yield read_record(path)


def path_of(directory: Path, name: str) -> Path:
    """Where a conversation of this id is stored. Raises HistoryError for what is no id."""
    if not _ID.fullmatch(name):
        raise HistoryError(f"{name!r} is not the id of a conversation")
    return directory / f"{name}{SUFFIX}"


def default_directory(environment: Mapping[str, str] = os.environ) -> Path:
    """RUNNER_HISTORY, else where the desktop's rules put an application's data."""
    if chosen := environment.get("RUNNER_HISTORY"):
        return Path(chosen)
    data = environment.get("XDG_DATA_HOME") or Path(environment.get("HOME", ".")) / ".local/share"
    return Path(data) / "sandbox-runner" / "conversations"


def _record_of(header: Mapping[str, Any], lines: Sequence[Any], length: int) -> Record:
    by_kind: dict[str, list[Any]] = {"message": [], "tool": [], "turn": []}
    for line in lines:
        by_kind.setdefault(line["record"], []).append(line)
    states = [line["state"] for line in by_kind["tool"]]
    return Record(
        header["id"],
        header["created_at"],
        [line["message"] for line in by_kind["message"]],
        states[-1] if states else None,
        [line["used"] for line in by_kind["turn"]],
        length,
    )


def _created(path: Path) -> int:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    descriptor = os.open(path, flags, mode=0o600)
    _lock(descriptor, path)
    return descriptor


def _lock(descriptor: int, path: Path) -> None:
    """One process at a time: two would mix their turns."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise HistoryError(f"the conversation {path.stem} is open in another process") from error


def _header(name: str) -> dict[str, Any]:
    return {"record": "conversation", "version": VERSION, "id": name, "created_at": _now()}


def _now() -> str:
    return datetime.now(UTC).isoformat()
