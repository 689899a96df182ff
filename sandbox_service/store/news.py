"""How a reader of an execution's journal learns that it has grown."""

import asyncio

LONGEST_WAIT_S = 5.0


class Watch:
    """Behind the `News` port: told by the store, and never waits for more than LONGEST_WAIT_S."""

    def __init__(self, longest_wait_s: float = LONGEST_WAIT_S) -> None:
        self._changed = asyncio.Event()
        self._final = asyncio.Event()
        self._longest_wait_s = longest_wait_s

    def tell(self, *, is_final: bool) -> None:
        self._changed.set()
        if is_final:
            self._final.set()

    def clear(self) -> None:
        self._changed.clear()

    async def wait(self) -> None:
        await self._wait_for(self._changed)

    async def wait_final(self) -> None:
        await self._wait_for(self._final)
        self._final.clear()  # the word may have been a mere maybe: who looks and finds nothing waits again

    async def _wait_for(self, event: asyncio.Event) -> None:
        try:
            async with asyncio.timeout(self._longest_wait_s):
                await event.wait()
        except TimeoutError:
            return
