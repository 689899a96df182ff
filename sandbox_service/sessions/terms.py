"""The terms a session is opened on: limits within the template's bounds, and when it expires. Pure."""

from datetime import datetime, timedelta

from sandbox_service.domain.errors import InvalidRequest
from sandbox_service.domain.values import (
    LIVE_STATUSES,
    Capacity,
    Limits,
    LimitsRequest,
    SessionRecord,
    Template,
)

CLOSING_S = 10.0
_TIMES = ("created_at", "last_active_at", "expires_at")


def resolve_limits(asked: LimitsRequest, template: Template) -> Limits:
    """The template's limits with what was asked put over them. Raises InvalidRequest out of bounds."""
    chosen = asked.model_dump(exclude_none=True)
    for name, value in chosen.items():
        check_range(
            f"limits.{name}",
            value,
            lowest=getattr(template.minimum, name),
            highest=getattr(template.maximum, name),
        )
    return template.limits.model_copy(update=chosen)


def require_room(asked: LimitsRequest, capacity: Capacity) -> None:
    """Raises InvalidRequest that names a limit which the engine cannot give."""
    if asked.cpus is not None and asked.cpus < capacity.least_cpus:
        raise _no_room("cpus", f"must be at least {capacity.least_cpus:g} for this template", asked)
    if asked.cpus is not None and asked.cpus > capacity.cpus:
        raise _no_room("cpus", f"can be at most {capacity.cpus:g} on this engine", asked)
    if asked.memory_bytes is not None and asked.memory_bytes > capacity.memory_bytes:
        most = f"can be at most {capacity.memory_bytes} on this engine"
        raise _no_room("memory_bytes", most, asked)


def _no_room(name: str, bound: str, asked: LimitsRequest) -> InvalidRequest:
    param = f"limits.{name}"
    return InvalidRequest(f"{param} {bound}; got {getattr(asked, name)}.", param=param)


def check_range(param: str, value: float, *, lowest: float, highest: float) -> None:
    """Raises InvalidRequest that names the field and its bounds."""
    if not lowest <= value <= highest:
        raise InvalidRequest(
            f"{param} must be between {lowest:g} and {highest:g}; got {value:g}.", param=param
        )


def expiry(
    last_active_at: datetime, created_at: datetime, idle_ttl_s: float, max_age_s: float
) -> datetime:
    """When a session ends if nothing happens: idle expiry or maximum age, whichever is first."""
    idle = last_active_at + timedelta(seconds=idle_ttl_s)
    oldest = created_at + timedelta(seconds=max_age_s)
    return min(idle, oldest)


def touched(record: SessionRecord, now: datetime) -> SessionRecord:
    """The record after activity at `now`. One that is closing is looked at again soon, whoever was to end it."""
    idle_ttl_s = min(record.idle_ttl_s, CLOSING_S) if record.is_closing else record.idle_ttl_s
    expires_at = expiry(now, record.created_at, idle_ttl_s, record.max_age_s)
    return record.model_copy(update={"last_active_at": now, "expires_at": expires_at})


def is_too_old(record: SessionRecord, now: datetime) -> bool:
    return now >= record.created_at + timedelta(seconds=record.max_age_s)


def is_due(record: SessionRecord, now: datetime) -> bool:
    """Whether the session expires now: at its maximum age, or idle with nothing that waits or runs."""
    return is_too_old(record, now) or (record.pending == 0 and now >= record.expires_at)


def shifted(record: SessionRecord, seconds: float) -> SessionRecord:
    """The live record in the terms of a clock that has jumped by so much; an ended one as it is."""
    if record.status not in LIVE_STATUSES:
        return record
    jump = timedelta(seconds=seconds)
    times = {name: getattr(record, name) + jump for name in _TIMES}
    return record.model_copy(update=times)
