"""Going on while the store is away: what runs must not fail because it cannot be written down just now."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from sandbox_service.domain.errors import StoreTooSlow, StoreUnavailable

logger = logging.getLogger(__name__)

SHORTEST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 1.0
SLOW_TRIES = 3

T = TypeVar("T")


async def patiently(call: Callable[[], Awaitable[T]]) -> T:
    """What `call` returns, called again and again until the store answers. Every call must be idempotent.

    Raises StoreTooSlow when its value did not pass several times.
    """
    pause_s = SHORTEST_PAUSE_S
    tries = SLOW_TRIES
    while True:
        try:
            return await call()
        except StoreTooSlow as error:
            tries -= 1
            if not tries:
                raise
            logger.warning("store_slow reason=%s", error.message)
        except StoreUnavailable as error:
            if not error.retryable:  # what is there is wrong, and stays so
                raise
            logger.warning("store_awaited reason=%s", error.message)
        await asyncio.sleep(pause_s)
        pause_s = min(LONGEST_PAUSE_S, 2 * pause_s)
