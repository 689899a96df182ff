"""How long an agent may keep us waiting: not for ever, however little it does at a time."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from sandbox_service.domain.values import MIB


@dataclass(frozen=True, slots=True)
class AgentWaits:
    """`silence_s` at a stretch, and `silence_s` in all with a second for each `slowest_bytes_per_s` that came."""

    silence_s: float = 30.0
    slowest_bytes_per_s: int = 1 * MIB


class Patience:
    """What is left of it for one transfer. Only time in which the agent is awaited is taken off."""

    def __init__(self, waits: AgentWaits) -> None:
        self._waits = waits
        self._left_s = waits.silence_s
        self._since = 0.0

    def begin(self) -> float:
        """We wait for the agent from now on; the time of the loop when that must end."""
        self._since = asyncio.get_running_loop().time()
        return self._since + min(self._left_s, self._waits.silence_s)

    def end(self) -> None:
        """We wait no more: something came, or it is the caller who is awaited."""
        self._left_s -= asyncio.get_running_loop().time() - self._since

    def moved(self, size_bytes: int) -> None:
        """So many bytes have come, or gone."""
        self._left_s += size_bytes / self._waits.slowest_bytes_per_s

    @asynccontextmanager
    async def waiting(self) -> AsyncIterator[None]:
        """Wait for the agent in the block. Raises TimeoutError."""
        async with asyncio.timeout_at(self.begin()):
            try:
                yield
            finally:
                self.end()
