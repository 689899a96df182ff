"""How much is kept, the same in every store, and what is told of what gave way."""

from dataclasses import dataclass

from sandbox_service.domain.values import MIB, ExecutionRecord

KEPT_EVENTS = 10_000
"""Of one execution; older ones give way to a gap."""

FULL_JOURNALS = 16
"""Of a session's latest ended executions all these events are kept, of older ones the last."""

GAVE_WAY = "Its outputs are no longer kept: with later ones they were more than a session or tenant may keep."


@dataclass(frozen=True, slots=True)
class StoreBounds:
    """`history_length` executions are kept of a session; `once_retention_s` is for idempotency keys, of which
    a tenant has `once_keys`: the oldest are forgotten first.

    Bytes are those of the JSON. Of one execution `event_bytes` of events are kept. When a session has more
    than `session_bytes` of results and events, or a tenant more than `tenant_bytes`, its oldest ended
    executions give way: first their events, then their outputs, in the end all of them; never the one that
    was written last. Of a tenant's ended sessions `ended_sessions` are known; the first that ended are dropped
    with all that was in them. A replica that was not heard of for `lease_ttl_s` has lost what it held. The
    memory store's log is written anew above `smallest_log_bytes`, and after a failure of the disk every
    `log_heal_s`.
    """

    history_length: int = 1000
    once_retention_s: float = 86_400
    once_keys: int = 100_000
    lease_ttl_s: float = 4.0
    event_bytes: int = 16 * MIB
    session_bytes: int = 32 * MIB
    tenant_bytes: int = 256 * MIB
    ended_sessions: int = 10_000
    smallest_log_bytes: int = 16 * MIB
    log_heal_s: float = 1.0


def without_outputs(record: ExecutionRecord) -> ExecutionRecord:
    """An ended execution as it is told of once its outputs have given way."""
    changes = {"outputs": [], "truncated": True, "notices": [*record.notices, GAVE_WAY]}
    return record.model_copy(update=changes)
