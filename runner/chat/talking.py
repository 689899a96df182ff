"""The conversation behind the chat: stored, with a session that outlives the program."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from runner.dispatch import PythonTool
from runner.events import Event
from runner.history import History, HistoryError
from runner.limits import TurnLimits
from runner.loop import Assistant
from runner.messages import results_of_open_calls
from runner.model import ChatModel
from sandbox_service.client import ClientError, NotFound, SandboxClient, SessionGone
from sandbox_service.client.text import size_text

SESSION_OVER = "its session is over; the next code gets a new one, with the files"


@dataclass(frozen=True, slots=True)
class Setting:
    """What every conversation of one chat is made with."""

    model: ChatModel
    client: SandboxClient
    limits: TurnLimits
    directory: Path


class Conversation:
    """One stored conversation, as the person meets it. `files` are those of a new one."""

    def __init__(self, setting: Setting, history: History, files: Sequence[Path] = ()) -> None:
        self.setting = setting
        self.history = history
        self.is_new = not history.messages
        self.was_broken_off = bool(results_of_open_calls(history.messages, ""))
        self.tool = _tool(setting.client, history, files)
        self.assistant = Assistant(setting.model, self.tool, setting.limits, journal=history)
        self._untold = list(files)

    def ask(self, question: str) -> AsyncGenerator[Event]:
        """Answer a question. The model is told of files that came since the last one."""
        told, self._untold = files_note(self._untold), []
        return self.assistant.ask(f"{question}\n\n{told}" if told else question)

    async def upload(self, path: Path) -> None:
        """Give the conversation one more file. Raises ClientError, OSError."""
        await self.tool.add_file(path)
        self._untold.append(path)

    async def fresh(self) -> "Conversation":
        """A new conversation with the same files; this one is stored and its session closed."""
        files = [Path(path) for path in self.tool.state()["files"].values()]
        self.history.close()
        with suppress(ClientError):
            if self.tool.session is not None:
                await self.tool.session.close()
        return await conversation(self.setting, History.create(self.setting.directory), files)

    @property
    def last_answer(self) -> str:
        """What the assistant said last."""
        said = (m["content"] for m in reversed(self.history.messages) if m["role"] == "assistant")
        return next((text for text in said if text), "")

    async def session_status(self) -> str:
        """How the session is, in a few words for a person."""
        if self.tool.session is None:
            return "no session yet"
        try:
            found = await self.tool.session.info()
        except (SessionGone, NotFound):
            return SESSION_OVER
        if found.status not in ("starting", "ready"):
            return SESSION_OVER
        return f"its session is alive until {found.expires_at.astimezone():%H:%M}"


async def conversation(setting: Setting, history: History, files: Sequence[Path]) -> Conversation:
    """A new conversation with these files, or a stored one to which they come now."""
    there = [path for path in files if await asyncio.to_thread(path.is_file)]
    talk = Conversation(setting, history, () if history.messages else there)
    if talk.was_broken_off:
        with suppress(ClientError):
            await talk.tool.interrupt()  # what still runs would hold up the next code
    if not talk.is_new:
        for path in there:
            await talk.upload(path)
    return talk


def files_note(paths: Sequence[Path]) -> str:
    """What the model is told of files that the person sent."""
    if not paths:
        return ""
    named = [f"{path.name} ({size_text(path.stat().st_size)})" for path in paths]
    return f"[Files that I put into /mnt/data: {', '.join(named)}]"


def _tool(client: SandboxClient, history: History, files: Sequence[Path]) -> PythonTool:
    """The tool as the history left it; its session is kept when the program ends.

    Raises HistoryError for what another version wrote.
    """
    if history.state is None:
        return PythonTool(client, files, keep_session=True)
    try:
        return PythonTool.from_state(history.state, client)
    except (ValueError, LookupError, TypeError) as error:
        raise HistoryError(f"{history.path} cannot be taken up: {error}") from error
