"""What a cell prints, told to the client while it runs."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable

from sandbox_service.client import OutputChanged
from sandbox_service.client.outputs import joined
from sandbox_service.client.text import plain

EVERY_S = 0.1
"""A cell may print thousands of lines a second: they are told together."""
HEARTBEAT_S = 10.0
"""Clients give up on calls that are silent for long, often after a minute."""
MOST_CHARS = 4_000

Report = Callable[[float, str], Awaitable[None]]
"""Tells seconds since the call began, and a message; the seconds always rise."""


class Progress:
    """Gathers output and reports it soon after it came; a slow client holds up nothing else."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._started = time.monotonic()
        self._last_s = 0.0
        self._waiting = ""
        self._news = asyncio.Event()

    def add(self, event: OutputChanged) -> None:
        """Take up what an event adds to the text; pictures and values come with the result."""
        output = event.output
        is_new = event.action in ("append", "extend")
        if is_new and output.get("output_type", "stream") == "stream":
            # Of a long burst its end is what is going on now.
            self._waiting = (self._waiting + joined(output.get("text", "")))[-MOST_CHARS:]
            self._news.set()

    async def run(self) -> None:
        """Report what comes, and every so often that the cell still runs."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(HEARTBEAT_S):
                    await self._news.wait()
            await self.tell(f"The code has been running for {self._seconds():.0f} s.")
            await asyncio.sleep(EVERY_S)

    async def tell(self, otherwise: str = "") -> None:
        """Report what waits, or else the other message, if there is one."""
        text, self._waiting = self._waiting, ""
        self._news.clear()
        if message := plain(text) or otherwise:
            await self._report(self._seconds(), message)

    def _seconds(self) -> float:
        self._last_s = max(round(time.monotonic() - self._started, 3), self._last_s + 0.001)
        return self._last_s


@contextlib.asynccontextmanager
async def told_progress(report: Report) -> AsyncIterator[Progress]:
    """Progress that is reported while the block runs; what is left is told at its good end."""
    progress = Progress(report)
    telling = asyncio.create_task(progress.run())
    try:
        yield progress
    finally:
        telling.cancel()
        await asyncio.wait([telling])
    await progress.tell()
