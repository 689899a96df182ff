"""A busy endpoint is asked again, within bounds, and never after it began to answer."""

from collections.abc import AsyncGenerator, Iterator
from datetime import UTC, datetime

import pytest

from runner.events import RetryWaiting
from runner.reply import ReplyDelta
from runner.retries import (
    ModelFailed,
    RetryBounds,
    retry_after_s,
    wait_before_retry,
    with_retries,
)
from tests.unit.fakes.chat_models import busy


class FailsSoOften:
    """Fails with these, one per request, and answers then."""

    def __init__(self, *failures: ModelFailed, after: int = 0) -> None:
        self._failures: Iterator[ModelFailed] = iter(failures)
        self._after = after

    async def ask(self) -> AsyncGenerator[ReplyDelta]:
        for _ in range(self._after):
            yield ReplyDelta("begun")
        if failure := next(self._failures, None):
            raise failure
        yield ReplyDelta("answer")


async def asked(model: FailsSoOften, bounds: RetryBounds | None = None) -> list[object]:
    return [item async for item in with_retries(model.ask, bounds or RetryBounds())]


async def test_a_failure_that_may_pass_is_waited_out_and_said() -> None:
    """The waiting is an event, so that a person knows why nothing happens."""
    items = await asked(FailsSoOften(busy(0.0), busy(0.01)))
    assert items == [
        RetryWaiting("overloaded", 0.0),
        RetryWaiting("overloaded", 0.01),
        ReplyDelta("answer"),
    ]


@pytest.mark.parametrize(
    ("model", "bounds"),
    [
        (FailsSoOften(*[busy()] * 3), RetryBounds(attempts=3)),
        (FailsSoOften(busy(61)), RetryBounds(longest_wait_s=60)),
        (FailsSoOften(ModelFailed("no key")), None),
        (FailsSoOften(busy(), after=1), None),
    ],
    ids=["too often", "too long", "for good", "in the middle of an answer"],
)
async def test_other_failures_are_raised(model: FailsSoOften, bounds: RetryBounds | None) -> None:
    """Too many, too far off, or not of the kind that passes."""
    with pytest.raises(ModelFailed):
        await asked(model, bounds)


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after-ms": "250", "retry-after": "1"}, 0.25),
        ({"retry-after": "Fri, 02 Jan 2026 03:04:15 GMT"}, 10.0),
        ({"retry-after": "Fri, 02 Jan 2026 03:00:00 GMT"}, 0.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "inf"}, None),
    ],
)
def test_retry_after_is_read_as_a_number_or_a_date(
    headers: dict[str, str], expected: float | None
) -> None:
    """What cannot be read is no word at all."""
    now = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert retry_after_s(headers, now) == expected


def test_without_a_word_of_the_endpoint_each_wait_is_about_twice_the_last() -> None:
    """And no two callers wait the same time."""
    waits = [wait_before_retry(busy(None), attempt) for attempt in (1, 2, 3)]
    assert all(low <= wait <= high for wait, low, high in zip(
        waits, (0.375, 0.75, 1.5), (0.625, 1.25, 2.5), strict=True
    ))  # fmt: skip
