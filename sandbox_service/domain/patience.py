"""Going on while the store is away: what runs must not fail because it cannot be written down just now."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from sandbox_service.domain.errors import StoreUnavailable

logger = logging.getLogger(__name__)

SHORTEST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 1.0

T = TypeVar("T")


async def patiently(call: Callable[[], Awaitable[T]]) -> T:
    """What `call` returns, called again and again until the store answers. Every call must be idempotent."""
    pause_s = SHORTEST_PAUSE_S
    while True:
        try:
            return await call()
        except StoreUnavailable as error:
            if not error.retryable:  # what is there is wrong, and stays so
                raise
            logger.warning("store_awaited reason=%s", error.message)
        await asyncio.sleep(pause_s)
        pause_s = min(LONGEST_PAUSE_S, 2 * pause_s)
