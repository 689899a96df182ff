"""What a long build says while it runs: each step once, and a sign of life in between."""

import threading
import time
from collections import deque
from types import TracebackType
from typing import Self

SIGN_OF_LIFE_S = 10.0
WIDTH = 110


class Progress:
    """Prints headings at once and, every ten seconds of silence, the newest line of the log."""

    def __init__(self, title: str) -> None:
        self._title = title
        self._started = time.monotonic()
        self._shown = self._started
        self._lines: deque[str] = deque(maxlen=15)
        self._stopped = threading.Event()

    def __enter__(self) -> Self:
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
        if error is None:
            self.heading(f"{self._title}: done")

    def heading(self, text: str) -> None:
        self._shown = time.monotonic()
        print(f"[{self._elapsed_s():4.0f} s] {text[:WIDTH]}", flush=True)

    def line(self, text: str) -> None:
        """Take one piece of the log."""
        for line in filter(None, map(str.strip, text.splitlines())):
            self._lines.append(line)
            if line.startswith("Step "):
                self.heading(f"  {line}")

    def tail(self) -> str:
        """The end of the log, for the message about a failure."""
        return "\n".join(f"    {line[:200]}" for line in self._lines)

    def _show_life(self) -> None:
        while not self._stopped.wait(1.0):
            if time.monotonic() - self._shown >= SIGN_OF_LIFE_S:
                newest = self._lines[-1] if self._lines else "waiting"
                self.heading(f"    ... {newest}")

    def _elapsed_s(self) -> float:
        return time.monotonic() - self._started
