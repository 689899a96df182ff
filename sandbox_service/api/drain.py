"""The end of a service process, as requests see it: not ready first, then cut short with a word on what to do."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sandbox_service.domain.errors import ShuttingDown

RETRY_AFTER_S = 1.0


class Drain:
    """Begun when the process is asked to stop, ended when those who still wait are told to come back."""

    def __init__(self) -> None:
        self.has_begun = False
        self.has_ended = False
        self._waits: set[asyncio.Timeout] = set()

    @property
    def has_waiting(self) -> bool:
        return bool(self._waits)

    def begin(self) -> None:
        """The process is not ready any more; what runs goes on."""
        self.has_begun = True

    def end(self) -> None:
        """Cut short whoever waits, now and from now on."""
        self.has_begun = self.has_ended = True
        for wait in list(self._waits):
            wait.reschedule(asyncio.get_running_loop().time())

    @asynccontextmanager
    async def until_ended(self) -> AsyncIterator[None]:
        """For a block that waits for long. Raises ShuttingDown in it when the drain ends."""
        if self.has_ended:
            raise _shutting_down()
        wait = asyncio.timeout(None)
        try:
            async with wait:
                self._waits.add(wait)
                yield
        except TimeoutError:
            if wait.expired():
                raise _shutting_down() from None
            raise
        finally:
            self._waits.discard(wait)


def _shutting_down() -> ShuttingDown:
    return ShuttingDown(
        "This service process is shutting down. What runs goes on: ask again for it.",
        retry_after_s=RETRY_AFTER_S,
    )
