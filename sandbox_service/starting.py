"""The steps of a start that need the store, and what is said when one of them fails."""

import asyncio
from collections.abc import Awaitable, Callable

from sandbox_service.domain.errors import StoreUnavailable

PAUSE_S = 0.2


async def when_the_store_is_there(
    step: Callable[[], Awaitable[None]], redis_url: str | None, patience_s: float
) -> None:
    """Take a step of the start, again while a Redis that starts at the same time does not answer.

    A step that takes long for another reason takes it. Raises StoreUnavailable, with what the line to the store
    said, after `patience_s`.
    """
    ends_at = asyncio.get_running_loop().time() + patience_s
    cause: BaseException | None = None
    while True:
        try:
            return await step()
        except StoreUnavailable as error:
            cause = error.__cause__ or cause
            if not error.retryable or asyncio.get_running_loop().time() > ends_at:
                raise _told(error, cause, redis_url) from error
        await asyncio.sleep(PAUSE_S)


def _told(
    error: StoreUnavailable, cause: BaseException | None, redis_url: str | None
) -> StoreUnavailable:
    if redis_url is None:
        return error
    reason = str(cause) or type(cause).__name__ if cause is not None else error.message
    return StoreUnavailable(f"The store at SANDBOX_REDIS_URL does not answer: {reason}")
