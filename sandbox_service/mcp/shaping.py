"""Where results are made into text: threads of their own, so that no file waits for a tenant's output."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

_threads = ThreadPoolExecutor(2, thread_name_prefix="shaping")


async def shaped(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """What `work` makes of text or bytes from a sandbox."""
    future = _threads.submit(work, *args, **kwargs)
    return await asyncio.wrap_future(future)
