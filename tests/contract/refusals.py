"""How a store that is away refuses: by StoreUnavailable, and without waiting for anything."""

from collections.abc import Coroutine
from typing import Any

from sandbox_service.domain.errors import StoreUnavailable


def is_refused_at_once(call: Coroutine[Any, Any, object]) -> bool:
    """Whether it raises in its first step, before anybody else could run."""
    try:
        call.send(None)
    except StoreUnavailable as refusal:
        return refusal.retry_after_s == 1
    call.close()
    return False
