"""Blocking work on the disk, done off the event loop, its errors told in the service's words."""

import asyncio
import errno
from collections.abc import Callable
from typing import TypeVar

from sandbox_service.domain.errors import Unavailable

T = TypeVar("T")
FULL_MESSAGE = "The service's storage is full."
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


async def in_thread(work: Callable[[], T]) -> T:
    """Run `work` in a thread, always to its end: a caller that is cancelled waits for that.

    So nothing that comes after races with the thread. Raises Unavailable when the disk refuses.
    """
    call = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        return await asyncio.shield(call)
    except asyncio.CancelledError:
        await _outlast(call)
        raise
    except OSError as error:
        raise storage_error(error) from error


async def _outlast(call: asyncio.Future[T]) -> None:
    while not call.done():
        try:
            await asyncio.wait([call])
        except asyncio.CancelledError:
            continue
    if not call.cancelled():
        call.exception()  # seen, so that the loop does not report it


def storage_error(error: OSError) -> Unavailable:
    """`storage_full` or `storage_unavailable`, with the reason that the system gives."""
    if error.errno in _FULL:
        return Unavailable(FULL_MESSAGE, code="storage_full")
    reason = error.strerror or type(error).__name__
    return Unavailable(f"The service's storage failed: {reason}.", code="storage_unavailable")
