"""What Redis and the way to it can fail with, translated: the one place that does.

A large value that did not pass in its time                            the line is slow: StoreTooSlow
A connection refused or reset, a timeout, LOADING, a wrong password    the server is away: StoreUnavailable
READONLY, OOM, MISCONF (its disk is full), NOREPLICAS, BUSY            it is there and refuses: StoreUnavailable
WRONGTYPE, any other refusal                                           our mistake, or a key of somebody
                                                                       else's: logged, and StoreCorrupt
"""

import logging

from redis.exceptions import ResponseError

from sandbox_service.domain.errors import StoreTooSlow, StoreUnavailable

logger = logging.getLogger(__name__)

RETRY_AFTER_S = 1.0
_STATES = ("READONLY", "OOM", "MISCONF", "NOREPLICAS", "BUSY", "MASTERDOWN", "OUTOFMEMORY")


class StoreCorrupt(StoreUnavailable):
    """What the store gave is not what was asked for: to ask again would not help."""

    code = "store_corrupt"
    retryable = False


def away() -> StoreUnavailable:
    return StoreUnavailable(
        "The store of sessions does not answer. Try again.", retry_after_s=RETRY_AFTER_S
    )


def too_slow() -> StoreTooSlow:
    return StoreTooSlow(
        "The line to the store of sessions is too slow for this.", retry_after_s=RETRY_AFTER_S
    )


def corrupt() -> StoreCorrupt:
    return StoreCorrupt(
        "The store gave something else than was asked for.", retry_after_s=RETRY_AFTER_S
    )


def unavailable(error: Exception) -> StoreUnavailable:
    """What a caller is told."""
    if not isinstance(error, ResponseError):
        return away()
    # redis-py cuts the prefix off those that it has a class for
    text = f"{type(error).__name__} {error}"
    if any(state in text.upper() for state in _STATES):
        logger.warning("store_refused error=%s", text[:200])
        return away()
    logger.error("store_refused error=%s", text[:200], stack_info=True)
    return corrupt()


def is_refusal(error: Exception) -> bool:
    """Whether the server itself answered with this."""
    return isinstance(error, ResponseError)
