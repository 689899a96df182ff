"""Work that runs beside a block and ends with it."""

import asyncio
import logging
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

logger = logging.getLogger(__name__)


@asynccontextmanager
async def running_beside(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run `work` beside the block and cancel it at the end. What makes it fail is logged, and ends it alone."""
    task = asyncio.create_task(work)
    task.add_done_callback(_tell_of_failure)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait({task})


def _tell_of_failure(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        logger.error("background_work_failed work=%s", task.get_coro(), exc_info=error)
