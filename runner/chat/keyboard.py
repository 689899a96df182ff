"""What a person types: lines between turns, Ctrl-C during them."""

import asyncio
import signal
import sys
import termios
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Protocol

PROMPT = "\001\x1b[1;36m\002> \001\x1b[0m\002"
"""The marks 1 and 2 tell readline which characters take no room."""


class Left(Exception):
    """The person wants to leave."""


class Lines(Protocol):
    """Where the person's lines come from."""

    def next(self) -> str:
        """The next line. Raises EOFError at the end, KeyboardInterrupt at Ctrl-C."""
        ...


class TypedLines:
    """Lines typed at a prompt, with the editing and the history of readline."""

    def __init__(self) -> None:
        with suppress(ImportError):
            import readline  # noqa: F401 - input() uses it once it is loaded

    def next(self) -> str:
        """The next line. Nothing else runs meanwhile."""
        return input(PROMPT)


class PipedLines:
    """Lines of standard input, repeated on the screen to show what is answered."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell

    def next(self) -> str:
        """The next line that is not empty."""
        for line in sys.stdin:
            if line.strip():
                self._tell(f"\n> {line.strip()}")
                return line
        raise EOFError


class Keyboard:
    """Reads lines and counts presses of Ctrl-C: the first one interrupts, a second one leaves."""

    def __init__(self, lines: Lines) -> None:
        self._lines = lines
        self._presses = 0

    def line(self, tell: Callable[[str], None]) -> str:
        """The next line. Raises Left at the end of input, and at the second Ctrl-C."""
        while True:
            try:
                with _interrupts_raise():
                    text = self._lines.next()
            except EOFError as error:
                raise Left from error
            except KeyboardInterrupt as error:
                self._presses += 1
                tell("")
                if self._presses > 1:
                    raise Left from error
                tell("Ctrl-C again, Ctrl-D or /quit leaves")
                continue
            self._presses = 0
            return text.strip()

    @contextmanager
    def interrupting(self, interrupt: Callable[[], None]) -> Iterator[None]:
        """Ctrl-C calls `interrupt` while the block lasts; a second one cancels the whole task."""
        task, loop = asyncio.current_task(), asyncio.get_running_loop()
        assert task is not None

        def pressed() -> None:
            self._presses += 1
            if self._presses > 1:
                task.cancel()
            else:
                interrupt()

        loop.add_signal_handler(signal.SIGINT, pressed)
        try:
            with _no_echo():
                yield
        finally:
            loop.remove_signal_handler(signal.SIGINT)


@contextmanager
def _interrupts_raise() -> Iterator[None]:
    """asyncio's own handler would only take note of Ctrl-C, and the prompt would wait on."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def _no_echo() -> Iterator[None]:
    """What is typed ahead is not mixed into what is shown; it comes at the next prompt."""
    if not sys.stdin.isatty():
        yield
        return
    before = termios.tcgetattr(sys.stdin)
    silent = [*before[:3], before[3] & ~termios.ECHO, *before[4:]]
    termios.tcsetattr(sys.stdin, termios.TCSADRAIN, silent)
    try:
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)
