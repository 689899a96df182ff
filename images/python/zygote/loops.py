"""`asyncio.run` in a cell, as in a script, although the kernel's own loop is running already."""

import asyncio
import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


def let_scripts_run_loops(kernel_loop: asyncio.AbstractEventLoop) -> None:
    """Let `asyncio.run`, `Runner.run` and `run_until_complete` work in a cell.

    The kernel's loop stands still meanwhile, as it does for any cell that does not await. In a loop of
    the user's own they are refused as ever.
    """
    asyncio.run = _beside(kernel_loop, asyncio.run)
    asyncio.Runner.run = _beside(kernel_loop, asyncio.Runner.run)  # type: ignore[method-assign]
    run_until_complete = _beside(kernel_loop, asyncio.BaseEventLoop.run_until_complete)

    def run(loop: asyncio.BaseEventLoop, future: Any) -> Any:
        """A coroutine given to the kernel's loop, as `get_event_loop` hands it out, gets one of its own."""
        if loop is kernel_loop and loop.is_running() and asyncio.iscoroutine(future):
            return asyncio.run(future)
        return run_until_complete(loop, future)

    asyncio.BaseEventLoop.run_until_complete = run  # type: ignore[method-assign]


def _beside(kernel_loop: asyncio.AbstractEventLoop, run: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(run)
    def wrapped(*args: Any, **options: Any) -> Any:
        with _stepped_aside(kernel_loop):
            return run(*args, **options)

    return wrapped


@contextmanager
def _stepped_aside(kernel_loop: asyncio.AbstractEventLoop) -> Iterator[None]:
    if asyncio._get_running_loop() is not kernel_loop:
        yield
        return
    asyncio._set_running_loop(None)
    try:
        yield
    finally:
        asyncio._set_running_loop(kernel_loop)
        asyncio.set_event_loop(kernel_loop)
