"""One throw-away cell through a fresh kernel, so that the first real cell finds everything in place.

What the zygote has warmed still costs a forked kernel its first touch: pages are copied, threads are
started, fonts are opened. The cell runs silently: it is not counted, and leaves no name behind.
"""

import asyncio
from typing import Any

from agent.channels import KernelChannels
from agent.execution import Execution
from agent.executions import Executions

_ID = "rehearsal"
_OUTPUT_BYTES = 1024 * 1024
_LONGEST_S = 10.0

_CELL = """
def _rehearse():
    try:
        import io, pandas, matplotlib.pyplot as plt
    except ImportError:
        return
    frame = pandas.DataFrame({"a": [1, 2, 3], "b": [2.5, 1.5, 3.5]})
    frame.to_csv(io.StringIO())
    frame.plot(title="Rehearsal")
    plt.show()
    print(frame)
_rehearse()
del _rehearse
"""

_CONTENT: dict[str, object] = {
    "code": _CELL,
    "silent": True,
    "store_history": False,
    "user_expressions": {},
    "allow_stdin": False,
}


class Rehearsal:
    """Borrows the line to a kernel that runs nothing yet, for one silent cell."""

    def __init__(self, channels: KernelChannels) -> None:
        self._channels = channels
        self._over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._executions = Executions(self._end)

    async def run(self, ended: "asyncio.Future[Any]") -> None:
        """Return when the cell is over, when the kernel has `ended`, or after a bounded time."""
        audience, self._channels.receiver = self._channels.receiver, self._executions
        self._executions.add(Execution(_ID, _OUTPUT_BYTES))
        self._channels.request("execute_request", _ID, _CONTENT)
        either: set[asyncio.Future[Any]] = {self._over, ended}
        await asyncio.wait(either, timeout=_LONGEST_S, return_when=asyncio.FIRST_COMPLETED)
        self._channels.receiver = audience

    def _end(self, execution: Execution) -> None:
        execution.finish({})
        if not self._over.done():
            self._over.set_result(None)
