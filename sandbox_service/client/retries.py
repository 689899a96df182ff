"""How often, and for how long, a call is tried again. Pure but for the clock."""

import random
from dataclasses import dataclass

from sandbox_service.client.errors import ApiError, ClientError, ServiceUnreachable
from sandbox_service.domain.ports import Clock

PASSING_STATUSES = (502, 503, 504)
LASTING_CODES = frozenset({"sandbox_lost", "runtime_unavailable"})
"""Answered with 503, but asking again gets the same."""
PASSING_CODES_IN_STREAM = frozenset({"shutting_down", "store_unavailable", "lease_lost"})
"""The stream failed and not its execution: another connection finds the rest."""


@dataclass(frozen=True, slots=True)
class Retries:
    """How calls are tried again.

    Waits double from `first_wait_s` to `longest_wait_s`, each shortened by up to half at random.
    A call is sent `attempts` times at most, the last time no later than `deadline_s` after the
    first failure. A broken stream is taken up again until `resume_s` have passed without a new
    event.
    """

    attempts: int = 5
    first_wait_s: float = 0.25
    longest_wait_s: float = 8.0
    deadline_s: float = 30.0
    resume_s: float = 60.0


NO_RETRIES = Retries(attempts=1, resume_s=0.0)
"""Every failure is told at once."""


def is_passing(error: ClientError) -> bool:
    """Whether the same call may be answered a little later."""
    if isinstance(error, ServiceUnreachable):
        return True
    if not isinstance(error, ApiError) or error.code in LASTING_CODES:
        return False
    if error.status == 429:
        return error.retry_after_s is not None
    return error.status in PASSING_STATUSES or (
        error.status == 0 and error.code in PASSING_CODES_IN_STREAM
    )


class Patience:
    """What is left of the patience with one call, or with one stream until its next event."""

    def __init__(self, retries: Retries, clock: Clock, attempts: int | None, budget_s: float):
        self._retries = retries
        self._clock = clock
        self._attempts = attempts
        self._budget_s = budget_s
        self._failures = 0
        self._failed_at = 0.0

    def renew(self) -> None:
        """There was progress: as if nothing had failed."""
        self._failures = 0

    async def wait(self, error: ClientError | None = None) -> bool:
        """Sleep until the next attempt. False, at once, when there is to be none."""
        now = self._clock.monotonic()
        if not self._failures:
            self._failed_at = now
        self._failures += 1
        wait_s = self._wait_s(error)
        is_last = self._attempts is not None and self._failures >= self._attempts
        if is_last or now + wait_s > self._failed_at + self._budget_s:
            return False
        await self._clock.sleep(wait_s)
        return True

    def _wait_s(self, error: ClientError | None) -> float:
        """The service's word on when to come back counts, if it gave one."""
        doubled = self._retries.first_wait_s * 2.0 ** min(self._failures - 1, 30)
        wait_s = min(doubled, self._retries.longest_wait_s)
        wait_s *= random.uniform(0.5, 1.0)  # noqa: S311 - so that clients do not come all at once
        asked_s = error.retry_after_s if isinstance(error, ApiError) else None
        return wait_s if asked_s is None else asked_s + wait_s
