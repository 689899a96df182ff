"""A program in a terminal of its own: what a person types, and what they see."""

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

SIZE = (40, 110)
ESCAPES = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\r")


class PtyProcess:
    """A process whose controlling terminal is ours; a context manager that ends it."""

    def __init__(self, arguments: Sequence[str], environment: Mapping[str, str], cwd: Path) -> None:
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", *SIZE, 0, 0))
        self.process = subprocess.Popen(
            # A session of its own with this terminal as the controlling one: Ctrl-C reaches it.
            ["setsid", "--ctty", "--wait", *arguments],
            stdin=slave, stdout=slave, stderr=slave, cwd=cwd, env=dict(environment),
        )  # fmt: skip
        os.close(slave)
        self.raw = b""
        self._seen = 0

    def __enter__(self) -> "PtyProcess":
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._master)  # the terminal hangs up: the program gets SIGHUP
        if self.process.poll() is None:
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    @property
    def text(self) -> str:
        """All that was written, without what steers the terminal."""
        return ESCAPES.sub("", self.raw.decode(errors="replace"))

    def type(self, text: str) -> None:
        """Type some keys."""
        os.write(self._master, text.encode())

    def press_ctrl_c(self) -> None:
        """What a person presses to stop things."""
        self.type("\x03")

    def until(self, words: str, within_s: float = 60.0) -> float:
        """Read until these words have come since the last call; returns when that was."""
        deadline = time.monotonic() + within_s
        while (at := self.text.find(words, self._seen)) < 0:
            left = deadline - time.monotonic()
            assert left > 0, f"no {words!r} in:\n{self.text[self._seen :]}"
            self._read(left)
        self._seen = at + len(words)
        return time.monotonic()

    def wait(self, within_s: float = 60.0) -> int:
        """Read to the end; returns the exit status."""
        deadline = time.monotonic() + within_s
        while self._read(deadline - time.monotonic()):
            assert time.monotonic() < deadline, self.text
        return self.process.wait(within_s)

    def _read(self, within_s: float) -> bool:
        """Whether there was something, or may be later: at the end there never will."""
        if not select.select([self._master], [], [], max(0.0, within_s))[0]:
            return True
        try:
            content = os.read(self._master, 65536)
        except OSError:
            return False  # nobody has the terminal open any more
        self.raw += content
        return bool(content)
