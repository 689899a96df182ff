"""How much is kept, the same in every store."""

from dataclasses import dataclass

KEPT_EVENTS = 10_000
"""Of one execution; older ones give way to a gap."""

FULL_JOURNALS = 16
"""Of a session's latest executions all these events are kept, of older ones the last."""


@dataclass(frozen=True, slots=True)
class StoreBounds:
    """`history_length` executions are kept of a session; `once_retention_s` is for idempotency keys.

    A replica that was not heard of for `lease_ttl_s` has lost what it held.
    """

    history_length: int = 1000
    once_retention_s: float = 86_400
    lease_ttl_s: float = 4.0
