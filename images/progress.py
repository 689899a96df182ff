"""What a long step of the set-up says while it runs: its parts once, a sign of life in between, all of it in a log."""

import os
import re
import subprocess
import tempfile
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self, TextIO

LOGS = Path(__file__).parents[1] / ".setup"
COLOURS = re.compile(r"\x1b\[[0-9;]*m")
SIGN_OF_LIFE_S = 10.0
WIDTH = 110


class StepFailed(Exception):
    """A command failed; the message says which, how its output ended and where all of it is."""


class Progress:
    """Prints headings at once, what matches `told`, and the newest line after ten seconds of silence.

    All lines go into a file that `tail` names.
    """

    def __init__(self, title: str, log: str, told: str = "Step .*") -> None:
        self._title = title
        self._log_name = log
        self._told = re.compile(told)
        self._started = time.monotonic()
        self._shown = self._started
        self._lines: deque[str] = deque(maxlen=15)
        self._stopped = threading.Event()

    def __enter__(self) -> Self:
        self._log = _open_log(self._log_name)
        self.heading(self._title)
        threading.Thread(target=self._show_life, daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stopped.set()
        self._log.close()
        if error is None:
            self.heading(f"{self._title}: done")

    def heading(self, text: str) -> None:
        self._shown = time.monotonic()
        print(f"[{self._elapsed_s():4.0f} s] {text[:WIDTH]}", flush=True)

    def line(self, text: str) -> None:
        """Take one piece of the log."""
        for line in filter(None, map(str.strip, COLOURS.sub("", text).splitlines())):
            self._lines.append(line)
            print(line, file=self._log, flush=True)
            if found := self._told.match(line):
                self.heading(f"  {found[0]}")

    def run(self, command: Sequence[str | Path], environ: Mapping[str, str] = os.environ) -> None:
        """Run a command and take its output. Raises StepFailed."""
        self.line("$ " + " ".join(map(str, command)))
        try:
            process = _started(command, environ)
        except OSError as error:
            raise StepFailed(f"`{command[0]}` cannot be run: {error.strerror}.") from None
        with process:
            for line in process.stdout or ():
                self.line(line)
        if process.returncode != 0:
            raise StepFailed(f"`{_words(command)}` failed.\n{self.tail()}")

    def tail(self) -> str:
        """The end of the log and where all of it is, for the message about a failure."""
        end = "\n".join(f"    {line[:200]}" for line in self._lines)
        return f"{end}\nThe whole log is in {self._log.name}"

    def _show_life(self) -> None:
        while not self._stopped.wait(1.0):
            if time.monotonic() - self._shown >= SIGN_OF_LIFE_S:
                newest = self._lines[-1] if self._lines else "waiting"
                self.heading(f"    ... {newest}")

    def _elapsed_s(self) -> float:
        return time.monotonic() - self._started


def _open_log(name: str) -> TextIO:
    """Among the logs of this checkout; elsewhere where another user has made those."""
    try:
        LOGS.mkdir(exist_ok=True)
        return (LOGS / f"{name}.log").open("w", encoding="utf-8")
    except OSError:
        folder = Path(tempfile.mkdtemp(prefix="sandbox-setup-"))
        return (folder / f"{name}.log").open("w", encoding="utf-8")


def _started(command: Sequence[str | Path], environ: Mapping[str, str]) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        list(map(str, command)),
        env=dict(environ),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
    )


def _words(command: Sequence[str | Path]) -> str:
    """What a person calls the command: its name and the words before its first option."""
    rest = [str(word) for word in command[1:]]
    options = (at for at, word in enumerate(rest) if word.startswith("-") and word != "-m")
    return " ".join([Path(command[0]).name, *rest[: next(options, len(rest))]])
