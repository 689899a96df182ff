"""What a person can ask of the chat itself: lines that begin with a slash."""

import asyncio
import json
import shlex
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from runner.chat.keyboard import Left
from runner.chat.notebook import with_words
from runner.chat.screen import Screen
from runner.chat.talking import Conversation
from runner.terminal import harmless
from sandbox_service.client import ApiError, NotFound, SessionGone
from sandbox_service.client.text import size_text


class CommandFailed(Exception):
    """The command cannot be carried out; the message says why."""


@dataclass
class Desk:
    """What commands work on. `talk` is replaced by a reset."""

    talk: Conversation
    screen: Screen


Command = Callable[[Desk, Sequence[str]], Awaitable[None]]


async def obey(desk: Desk, line: str) -> None:
    """Carry out a line such as `/save work.ipynb`. Raises CommandFailed, ClientError, OSError."""
    try:
        name, *arguments = shlex.split(line)
    except ValueError as error:
        raise CommandFailed(f"{line}: {error}") from error
    entry = COMMANDS.get(name)
    if entry is None:
        raise CommandFailed(f"there is no {name}; /help lists what there is")
    await entry.run(desk, arguments)


async def _help(desk: Desk, arguments: Sequence[str]) -> None:
    for name, entry in COMMANDS.items():
        desk.screen.note(f"{f'{name} {entry.usage}':<22}{entry.does}")
    desk.screen.note(f"{'Ctrl-C':<22}stop what runs; variables are kept; a second one leaves")


async def _files(desk: Desk, arguments: Sequence[str]) -> None:
    session = desk.talk.tool.session
    if session is None:
        raise CommandFailed("there is no session yet: it begins with the first code")
    files = [entry for entry in await session.files() if entry.type == "file"]
    for entry in files:
        desk.screen.note(f"{harmless(entry.path)}  {size_text(entry.size)}")
    if not files:
        desk.screen.note("there are no files in /mnt/data")


async def _save(desk: Desk, arguments: Sequence[str]) -> None:
    if len(arguments) != 1:
        raise CommandFailed("say where: /save notebook.ipynb")
    path, session = _local(arguments[0]), desk.talk.tool.session
    if session is None:
        raise CommandFailed("nothing has run yet")
    try:
        notebook = await session.notebook()
    except (SessionGone, NotFound) as error:
        raise CommandFailed("the session is over, and its outputs with it") from error
    whole = with_words(notebook, desk.talk.assistant.messages)
    await asyncio.to_thread(path.write_text, json.dumps(whole, indent=1))
    desk.screen.saved([path])


async def _upload(desk: Desk, arguments: Sequence[str]) -> None:
    if not arguments:
        raise CommandFailed("say which: /upload data.csv")
    for path in map(_local, arguments):
        if not path.is_file():
            raise CommandFailed(f"there is no file {path}")
        await desk.talk.upload(await asyncio.to_thread(path.resolve))
        desk.screen.note(f"/mnt/data/{path.name} is for the next question")


def _local(name: str) -> Path:
    """The local file that a person means, in their home too."""
    return Path(name).expanduser()


async def _reset(desk: Desk, arguments: Sequence[str]) -> None:
    before = desk.talk.history.id
    desk.talk = await desk.talk.fresh()
    desk.screen.note(f"a new conversation, without variables; the one before is kept: {before}")


async def _quit(desk: Desk, arguments: Sequence[str]) -> None:
    raise Left


@dataclass(frozen=True, slots=True)
class Entry:
    """A command, how it is typed, and what it does."""

    run: Command
    usage: str
    does: str


COMMANDS = {
    "/files": Entry(_files, "", "list what is in /mnt/data"),
    "/upload": Entry(_upload, "PATH ...", "put files into /mnt/data"),
    "/save": Entry(_save, "NAME.ipynb", "save the conversation as a notebook"),
    "/reset": Entry(_reset, "", "begin anew: no variables, no history, the same files"),
    "/help": Entry(_help, "", "this list"),
    "/quit": Entry(_quit, "", "leave; the session stays for a while"),
}


def said_by(error: Exception) -> str:
    """A failure in a sentence for the person."""
    return error.message if isinstance(error, ApiError) else str(error) or type(error).__name__
