"""Waiting for the events of an async iterator, until a moment that can be moved meanwhile."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TypeVar

T = TypeVar("T")


class WaitingIsOver(Exception):
    """The moment has come, and no item with it."""


class Patience:
    """How long items are waited for: without end, until `end_at` says otherwise."""

    def __init__(self) -> None:
        self._end: float | None = None
        self._waiting: asyncio.Timeout | None = None

    def end_at(self, moment: float) -> None:
        """Wait no longer than `moment` on the loop's clock; whoever waits now is told."""
        self._end = moment if self._end is None else min(self._end, moment)
        if self._waiting is not None and not self._waiting.expired():
            self._waiting.reschedule(self._end)

    async def each(self, items: AsyncGenerator[T]) -> AsyncGenerator[T]:
        """Yield the items that come in time. Raises WaitingIsOver.

        Only the wait for the next item is cut off, never the code that works on one.
        """
        async with aclosing(items):
            while True:
                try:
                    item = await self._next(items)
                except StopAsyncIteration:
                    return
                yield item

    async def _next(self, items: AsyncGenerator[T]) -> T:
        try:
            async with asyncio.timeout_at(self._end) as waiting:
                self._waiting = waiting
                return await anext(items)
        except TimeoutError as error:
            if not waiting.expired():
                raise
            raise WaitingIsOver from error
        finally:
            self._waiting = None
