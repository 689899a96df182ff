"""ipykernel's kernel, with what an interrupt needs, and with a cell's output inside of the cell."""

import asyncio
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ipykernel.ipkernel import IPythonKernel
from jupyter_client.session import extract_header
from traitlets import Instance

from zygote.outlet import Outlet


class CellKernel(IPythonKernel):
    """Tells the outlet which cell runs, and tells nobody of its end before all of its output is read."""

    outlet = Instance(Outlet)

    def set_parent(self, ident: Any, parent: Any, channel: str = "shell") -> None:
        super().set_parent(ident, parent, channel)
        if channel == "shell":
            self.outlet.open(extract_header(parent))

    async def do_execute(self, *args: Any, **options: Any) -> Any:
        reply = await super().do_execute(*args, **options)
        self.outlet.push()
        return reply

    def _publish_status(self, status: str, channel: str, parent: Any = None) -> None:
        if (status, channel) == ("idle", "shell"):
            self.outlet.close()
        super()._publish_status(status, channel, parent)

    @contextmanager
    def _cancel_on_sigint(self, future: "asyncio.Future[Any]") -> Iterator[None]:
        """Ends a cell that awaits at once when it is interrupted.

        ipykernel's own handler queues the cancellation without waking the loop, so that
        `await asyncio.sleep(60)` would sleep to its end.
        """
        loop = asyncio.get_running_loop()
        with super()._cancel_on_sigint(future):
            cancel = signal.getsignal(signal.SIGINT)

            def cancel_and_wake(number: int, frame: Any) -> None:
                cancel(number, frame)  # type: ignore[operator, misc]
                loop.call_soon_threadsafe(lambda: None)

            signal.signal(signal.SIGINT, cancel_and_wake)
            yield
