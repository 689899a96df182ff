"""The start waits for a store that comes up beside it, and says what really stood in its way."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from sandbox_service.domain.errors import EngineUnavailable, ServiceError, StoreUnavailable
from sandbox_service.starting import when_the_store_is_there

REDIS = "redis://:secret@127.0.0.1:6379/0"


def fails(error: Exception, cause: Exception | None = None) -> Callable[[], Awaitable[None]]:
    async def step() -> None:
        raise error from cause

    return step


async def test_a_step_is_taken_again_until_the_store_answers() -> None:
    answers = [StoreUnavailable("not yet"), StoreUnavailable("not yet"), None]

    async def step() -> None:
        if (error := answers.pop(0)) is not None:
            raise error

    await when_the_store_is_there(step, REDIS, 60)
    assert answers == []


async def test_a_step_that_takes_long_is_not_cut_short() -> None:
    """However short the patience with a store that does not answer is."""
    ended = asyncio.Event()

    async def step() -> None:
        await asyncio.sleep(0.05)
        ended.set()

    await when_the_store_is_there(step, None, 0.0)
    assert ended.is_set()


REFUSED = ConnectionRefusedError("Error 111 connecting to 127.0.0.1:6379.")
CASES = [
    (StoreUnavailable("Away."), REFUSED, REDIS, "SANDBOX_REDIS_URL does not answer: Error 111"),
    (StoreUnavailable("Away."), TimeoutError(), REDIS, "does not answer: TimeoutError"),
    (StoreUnavailable("Away."), None, REDIS, "SANDBOX_REDIS_URL does not answer: Away."),
    (StoreUnavailable("Another process has the log."), None, None, "Another process has the log."),
    (EngineUnavailable("The engine is away."), None, REDIS, "The engine is away."),
]


@pytest.mark.parametrize(("error", "cause", "redis_url", "told"), CASES)
async def test_the_true_cause_is_told(
    error: ServiceError, cause: Exception | None, redis_url: str | None, told: str
) -> None:
    """Redis is named only when there is one, and never its password."""
    with pytest.raises(ServiceError) as refusal:
        await when_the_store_is_there(fails(error, cause), redis_url, 0.0)
    assert told in refusal.value.message
    assert "secret" not in refusal.value.message
