"""What a long build says while it runs: each step once, and a sign of life in between."""

import time
from collections import deque

SIGN_OF_LIFE_S = 5.0


class Progress:
    """Prints headings at once and, of the rest, the newest line every few seconds."""

    def __init__(self, title: str) -> None:
        self._started = time.monotonic()
        self._shown = self._started
        self._lines: deque[str] = deque(maxlen=15)
        self.heading(title)

    def heading(self, text: str) -> None:
        self._print(text)

    def line(self, text: str) -> None:
        """Take one piece of the log."""
        for line in filter(None, map(str.strip, text.splitlines())):
            self._lines.append(line)
            if line.startswith("Step "):
                self._print(f"  {line}")
            elif time.monotonic() - self._shown > SIGN_OF_LIFE_S:
                self._print(f"    {line}")

    def done(self, text: str) -> None:
        self._print(f"{text} ({self._elapsed_s():.0f} s).")

    def tail(self) -> str:
        return "\n".join(f"    {line[:200]}" for line in self._lines)

    def _elapsed_s(self) -> float:
        return time.monotonic() - self._started

    def _print(self, text: str) -> None:
        self._shown = time.monotonic()
        print(f"[{self._elapsed_s():4.0f} s] {text[:110]}", flush=True)
