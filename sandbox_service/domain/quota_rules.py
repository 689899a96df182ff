"""What a tenant may use and when it is refused: the rules that every implementation of Quotas keeps. Pure."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from enum import StrEnum

from pydantic import Field

from sandbox_service.domain.errors import RateLimited
from sandbox_service.domain.tenancy import Held
from sandbox_service.domain.values import Value

RETRY_SESSIONS_S = 10.0
RETRY_EXECUTIONS_S = 1.0
RETRY_STORED_S = 60.0
BURST_S = 2.0

RELEASED_KEPT_S = 60.0
"""For so long `settle` knows what was released; its grace is best shorter."""


class TenantLimits(Value):
    """What one tenant may use; None means as much as the service has."""

    sessions: int | None = Field(default=None, ge=0)
    executions: int | None = Field(default=None, ge=0)
    requests_per_s: float | None = Field(default=None, gt=0)
    stored_bytes: int | None = Field(default=None, ge=0)
    stored_files: int | None = Field(default=None, ge=0)
    cpu_seconds_per_day: float | None = Field(default=None, ge=0)

    def over(self, defaults: "TenantLimits") -> "TenantLimits":
        """These limits where they were given, a given None included, else the defaults."""
        given = {name: getattr(self, name) for name in self.model_fields_set}
        return defaults.model_copy(update=given)


LimitsOf = Callable[[str], TenantLimits]
"""A tenant's limits at the moment of the call."""


@dataclass(frozen=True, slots=True)
class SharedRoom:
    """How many sessions all tenants may have together, and who they are."""

    max_sessions: int
    tenants: Callable[[], frozenset[str]]


class Judgement(StrEnum):
    """Whether a tenant may hold one more, or what stands against it."""

    GRANTED = "granted"
    OWN_LIMIT = "own_limit"
    SERVICE_FULL = "service_full"
    KEPT_FOR_OTHERS = "kept_for_others"


@dataclass(frozen=True, slots=True)
class HoldBounds:
    """Up to where a tenant may hold one more, as numbers that a store can compare in one step.

    `own`: what it may hold. `everyone`: what all may hold together. Once all hold `open_to_all`, only
    those go on that hold fewer than `share`.
    """

    own: float = math.inf
    everyone: float = math.inf
    open_to_all: float = math.inf
    share: float = math.inf

    def judge(self, held: int, held_by_all: int) -> Judgement:
        """May a tenant that holds `held` take one more?"""
        if held >= self.own:
            return Judgement.OWN_LIMIT
        if held_by_all >= self.everyone:
            return Judgement.SERVICE_FULL
        if held_by_all >= self.open_to_all and held >= self.share:
            return Judgement.KEPT_FOR_OTHERS
        return Judgement.GRANTED


def bounds_of(held: Held, limits: TenantLimits, room: SharedRoom) -> HoldBounds:
    """The bounds of a tenant with these limits.

    With several tenants, the last quarter of all sessions is for those that have less than an
    equal share of that quarter.
    """
    if held is Held.EXECUTIONS:
        return HoldBounds(own=_or_inf(limits.executions))
    own, tenants = _or_inf(limits.sessions), len(room.tenants())
    if tenants < 2:
        return HoldBounds(own, everyone=room.max_sessions)
    last_quarter = room.max_sessions // 4
    return HoldBounds(
        own, room.max_sessions, room.max_sessions - last_quarter, last_quarter / tenants
    )


def _or_inf(limit: int | None) -> float:
    return math.inf if limit is None else limit


def hold_refusal(
    judgement: Judgement, held: Held, bounds: HoldBounds, held_now: int
) -> RateLimited:
    """What a claim is refused with, `judgement` being anything but GRANTED."""
    if judgement is Judgement.SERVICE_FULL:
        message = f"This service runs at most {int(bounds.everyone)} sessions at once."
        return RateLimited(message, code="session_limit", retry_after_s=RETRY_SESSIONS_S)
    if held is Held.EXECUTIONS:
        what = f"at most {int(bounds.own)} executions waiting or running at once"
        return _refusal(held.value, what, RETRY_EXECUTIONS_S)
    if judgement is Judgement.OWN_LIMIT:
        what = f"at most {int(bounds.own)} live sessions"
    else:
        what = f"{held_now} live sessions now: the others are kept for other tenants"
    return _refusal(held.value, what, RETRY_SESSIONS_S)


def burst_of(requests_per_s: float) -> float:
    """How many requests may come at once after a quiet time."""
    return max(1.0, requests_per_s * BURST_S)


def rate_refusal(requests_per_s: float, wait_s: float) -> RateLimited:
    what = f"at most {requests_per_s:g} requests per second"
    return _refusal("rate_requests", what, wait_s)


def stored_refusal(limit_bytes: int) -> RateLimited:
    what = f"at most {limit_bytes} bytes of stored files"
    return _refusal("quota_stored_bytes", what, RETRY_STORED_S)


def files_refusal(limit: int) -> RateLimited:
    return _refusal("quota_stored_files", f"at most {limit} stored files", RETRY_STORED_S)


def cpu_refusal(limit_s: float, now: datetime) -> RateLimited:
    what = f"at most {limit_s:g} CPU seconds per day (UTC)"
    return _refusal("quota_cpu_seconds", what, _until_midnight_s(now))


def _until_midnight_s(now: datetime) -> float:
    tomorrow = now.date() + timedelta(days=1)
    return (datetime.combine(tomorrow, time(), UTC) - now).total_seconds()


def _refusal(code: str, what: str, retry_after_s: float) -> RateLimited:
    return RateLimited(f"This tenant may have {what}.", code=code, retry_after_s=retry_after_s)
