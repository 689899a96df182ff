"""What a chat shows of a turn: in colours on a terminal, in plain lines anywhere else."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol

from runner.events import Event, TurnFinished
from runner.limits import TurnUsage
from runner.terminal import Terminal, harmless
from runner.turn import WHY
from sandbox_service.client.text import size_text


class Screen(Protocol):
    """Shows a conversation to a person."""

    shows_pictures: bool

    def turn(self) -> AbstractContextManager[None]:
        """While a turn lasts."""
        ...

    def show(self, event: Event) -> None:
        """Show one event of the turn."""
        ...

    def note(self, text: str) -> None:
        """A remark of the program itself."""
        ...

    def complain(self, text: str) -> None:
        """Something that went wrong."""
        ...

    def saved(self, paths: Sequence[Path]) -> None:
        """Files that are on this machine now."""
        ...


class PlainScreen:
    """Plain lines on standard output, what went wrong on standard error: for pipes and files."""

    shows_pictures = False

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Nothing moves on a plain screen."""
        yield

    def show(self, event: Event) -> None:
        """Show one event as it is."""
        self._terminal.show(event)
        if isinstance(event, TurnFinished):
            self._terminal.line(f"[{summary(event)}]")

    def note(self, text: str) -> None:
        """A line of its own."""
        self._terminal.line(text)

    def complain(self, text: str) -> None:
        """A line on standard error."""
        print(f"runner: {harmless(text)}", file=sys.stderr, flush=True)

    def saved(self, paths: Sequence[Path]) -> None:
        """A line per file."""
        for path in paths:
            self._terminal.line(f"[saved {saved_text(path)}]")


def saved_text(path: Path) -> str:
    """A file's place and size."""
    return f"{harmless(str(path))}, {size_text(path.stat().st_size)}"


def summary(turn: TurnFinished) -> str:
    """What a turn used, after why it stopped if it did."""
    stopped = [] if turn.reason == "answered" else [f"stopped: {WHY[turn.reason].rstrip('.')}"]
    return " · ".join([*stopped, *_used(turn.used)])


def _used(used: TurnUsage) -> Iterator[str]:
    model, about = used.model, "about " if used.model.is_estimated else ""
    yield f"{used.requests} request{'' if used.requests == 1 else 's'}"
    yield f"{about}{model.input_tokens:,} tokens in, {model.output_tokens:,} out"
    if used.executions:
        yield f"sandbox {used.sandbox_s:.1f} s"
    if used.cost is not None:
        yield f"cost {used.cost:.4f}"
