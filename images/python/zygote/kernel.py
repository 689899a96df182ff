"""ipykernel's kernel, with the one thing mended that an interrupt needs."""

import asyncio
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ipykernel.ipkernel import IPythonKernel


class InterruptibleKernel(IPythonKernel):
    """Ends a cell that awaits at once when it is interrupted.

    ipykernel's own handler queues the cancellation without waking the loop, so that
    `await asyncio.sleep(60)` would sleep to its end.
    """

    @contextmanager
    def _cancel_on_sigint(self, future: "asyncio.Future[Any]") -> Iterator[None]:
        loop = asyncio.get_running_loop()
        with super()._cancel_on_sigint(future):
            cancel = signal.getsignal(signal.SIGINT)

            def cancel_and_wake(number: int, frame: Any) -> None:
                cancel(number, frame)  # type: ignore[operator, misc]
                loop.call_soon_threadsafe(lambda: None)

            signal.signal(signal.SIGINT, cancel_and_wake)
            yield
