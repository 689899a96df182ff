"""Asking a busy endpoint again: after the time that it names, else after a growing one."""

import asyncio
import random
import re
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from runner.events import RetryWaiting
from runner.reply import ReplyDelta

BUSY_STATUSES = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
BUSY_WORDS = re.compile(r"overloaded|rate.?limit|server_error|try again|unavailable|50[0234]|529")
EMPTY_PURSE = frozenset({"insufficient_quota", "billing_hard_limit_reached"})
FIRST_WAIT_S = 0.5


class ModelFailed(Exception):
    """The endpoint refused the request, failed, or could not be reached; the message says which.

    `may_pass`: the same request may succeed later, `retry_after_s` seconds from now if known.
    """

    def __init__(
        self, message: str, *, may_pass: bool = False, retry_after_s: float | None = None
    ) -> None:
        super().__init__(message)
        self.may_pass = may_pass
        self.retry_after_s = retry_after_s


@dataclass(frozen=True, slots=True)
class RetryBounds:
    """How often a reply is asked for again, and how long is waited each time at the most."""

    attempts: int = 5
    longest_wait_s: float = 60.0


async def with_retries(
    ask: Callable[[], AsyncGenerator[ReplyDelta]], bounds: RetryBounds
) -> AsyncGenerator[ReplyDelta | RetryWaiting]:
    """The pieces of a reply; a failure that may pass, before the first piece, is asked again.

    Raises ModelFailed: the last one, when the bounds are reached.
    """
    for attempt in range(1, bounds.attempts + 1):
        begun = False
        try:
            async with aclosing(ask()) as deltas:
                async for delta in deltas:
                    begun = True
                    yield delta
            return
        except ModelFailed as error:
            wait_s = wait_before_retry(error, attempt)
            if begun or attempt == bounds.attempts or not error.may_pass:
                raise
            if wait_s > bounds.longest_wait_s:
                raise
            yield RetryWaiting(str(error), wait_s)
        await asyncio.sleep(wait_s)


def wait_before_retry(error: ModelFailed, attempt: int) -> float:
    """Seconds: what the endpoint says, else twice as many after each attempt, never in step."""
    if error.retry_after_s is not None:
        return error.retry_after_s
    return FIRST_WAIT_S * 2.0 ** (attempt - 1) * random.uniform(0.75, 1.25)  # noqa: S311 - jitter


def busy_failure(
    reason: str, status: int | None, code: str, headers: Mapping[str, str]
) -> ModelFailed:
    """The failure for an error answer. Without a status, the words of the error decide."""
    is_busy = status in BUSY_STATUSES if status else bool(BUSY_WORDS.search(code.lower()))
    may_pass = is_busy and code not in EMPTY_PURSE
    return ModelFailed(reason, may_pass=may_pass, retry_after_s=retry_after_s(headers))


def retry_after_s(headers: Mapping[str, str], now: datetime | None = None) -> float | None:
    """The seconds that `Retry-After` names, as a number or as a date."""
    if milliseconds := _number(headers.get("retry-after-ms")):
        return milliseconds / 1000
    text = headers.get("retry-after")
    seconds = _number(text)
    if seconds is not None or text is None:
        return seconds
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    return max(0.0, (moment - (now or datetime.now(UTC))).total_seconds())


def _number(text: str | None) -> float | None:
    try:
        seconds = float(text or "")
    except ValueError:
        return None
    return seconds if 0 <= seconds < float("inf") else None
