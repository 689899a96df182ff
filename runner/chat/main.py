"""The command line of the chat: what to talk to, which conversation, which screen."""

import argparse
import asyncio
import os
import sys
from pathlib import Path

from rich.console import Console

from runner.answer import model_or_script, script_for
from runner.chat.keyboard import Keyboard, Lines, PipedLines, TypedLines
from runner.chat.pictures import protocol_of
from runner.chat.repl import Chat
from runner.chat.rich_screen import RichScreen
from runner.chat.screen import PlainScreen, Screen
from runner.chat.talking import Conversation, Setting, conversation
from runner.history import History, HistoryError, default_directory, path_of, stored
from runner.model import OpenAIModel
from runner.options import OptionError, add_options, endpoint_of, limits_of
from runner.terminal import harmless, standard_terminal
from sandbox_service.client import ClientError, SandboxClient, ServiceUnreachable

LATEST = "latest"
SHOWN_ANSWER_CHARS = 600
INTERRUPTED = 130


def chat(arguments: list[str]) -> int:
    """Run the chat; returns the process's exit status."""
    options = _parser().parse_args(arguments)
    options.history = options.history or default_directory()
    if missing := [path for path in options.file if not path.is_file()]:
        return _fail(f"no such file: {', '.join(map(str, missing))}")
    options.file = [path.resolve() for path in options.file]
    if options.list:
        return _list(options.history)
    try:
        return asyncio.run(_chat(options))
    except (KeyboardInterrupt, asyncio.CancelledError):
        return INTERRUPTED
    except ServiceUnreachable as error:
        return _fail(f"{error}. Start the service with `make serve`, or name another with --url.")
    except (ClientError, HistoryError, OptionError, OSError) as error:
        return _fail(str(error))


async def _chat(options: argparse.Namespace) -> int:
    config = endpoint_of(options)
    limits = limits_of(options, config)
    script = options.model or script_for(options.file)
    screen = _screen()
    if config is None:
        screen.note(f"No OPENAI_API_KEY: the scripted model plays '{script}', whatever is asked.")
    with _history(options) as history:
        async with (
            model_or_script(config, script) as endpoint,
            OpenAIModel(endpoint) as model,
            SandboxClient(options.url, options.api_key) as client,
        ):
            await client.is_ready()
            setting = Setting(model, client, limits, options.history)
            talk = await conversation(setting, history, options.file)
            return await _talk(talk, screen, options.out)


async def _talk(talk: Conversation, screen: Screen, out: Path) -> int:
    """Talk until the person leaves, and say how to go on another time."""
    await _greet(talk, screen)
    running = Chat(talk, screen, Keyboard(_lines(screen)), out)
    try:
        await running.run()
    finally:
        last = running.talk.history
        last.close()
        if last.path.exists():
            screen.note(f"Go on with: python -m runner chat --resume {last.id}")
    return int(running.has_failed and not sys.stdin.isatty())


def _history(options: argparse.Namespace) -> History:
    """A new conversation, or the one that is to be taken up. Raises HistoryError."""
    if options.resume is None:
        return History.create(options.history)
    if options.resume != LATEST:
        return History.open(path_of(options.history, options.resume))
    latest = next(stored(options.history), None)
    if latest is None:
        raise HistoryError(f"there is no conversation in {options.history}")
    return History.open(path_of(options.history, latest.id))


def _screen() -> Screen:
    """In colours where a person types and reads; plain where one of the two is a pipe."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()) or os.environ.get("TERM") == "dumb":
        return PlainScreen(standard_terminal())
    return RichScreen(Console(highlight=False), protocol_of(os.environ))


def _lines(screen: Screen) -> Lines:
    return TypedLines() if sys.stdin.isatty() else PipedLines(screen.note)


async def _greet(talk: Conversation, screen: Screen) -> None:
    if talk.is_new:
        screen.note("Ask about data. /help lists what else there is.")
        return
    screen.note(f"Conversation {talk.history.id}: {await talk.session_status()}.")
    if said := talk.last_answer:
        screen.note(said[:SHOWN_ANSWER_CHARS])


def _list(directory: Path) -> int:
    for record in stored(directory):
        question = harmless(record.first_question).partition("\n")[0]
        print(f"{record.id}  {question[:80]}")
    return 0


def _fail(message: str) -> int:
    print(f"runner: {message}", file=sys.stderr)
    return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m runner chat", description="A conversation about data, in a terminal."
    )
    add = parser.add_argument
    add("--file", type=Path, action="append", default=[], help="a file to work on; repeatable")
    add("--out", type=Path, default=Path("results"), help="where files and charts go (results/)")
    add(
        "--resume",
        nargs="?",
        const=LATEST,
        metavar="ID",
        help="take up a stored conversation: the latest, or the one named",
    )
    add("--list", action="store_true", help="list the stored conversations")
    add("--history", type=Path, help="where conversations are stored (RUNNER_HISTORY)")
    add_options(parser)
    return parser
