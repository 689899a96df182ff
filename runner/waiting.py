"""Waiting with a deadline for the events of an async iterator."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TypeVar

T = TypeVar("T")


class DeadlinePassed(Exception):
    """The time is over."""


async def until(deadline: float, items: AsyncGenerator[T]) -> AsyncGenerator[T]:
    """Yield the items that come before `deadline` on the loop's clock. Raises DeadlinePassed.

    Only the wait for the next item is cut off, never the code that works on one.
    """
    async with aclosing(items):
        while True:
            try:
                async with asyncio.timeout_at(deadline) as waiting:
                    item = await anext(items)
            except StopAsyncIteration:
                return
            except TimeoutError as error:
                if not waiting.expired():
                    raise
                raise DeadlinePassed from error
            yield item
