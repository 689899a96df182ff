"""Turns at something scarce, given to those who wait in rounds: one who asks often delays the others little."""

import asyncio
from collections import OrderedDict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

Waiting = deque[asyncio.Future[None]]


class FairTurns:
    """At most `places` at once. Of several names that wait, each gets one turn per round.

    Who asks without a name comes after all who have one.
    """

    def __init__(self, places: int) -> None:
        self._places = places
        self._free = places
        self._waiting: OrderedDict[str, Waiting] = OrderedDict()
        self._nameless: Waiting = deque()

    @property
    def is_idle(self) -> bool:
        return self._free == self._places

    def rounds_ahead(self, name: str) -> float:
        """How many turns of each place end before one that `name` asks for now begins; 0 when one is free."""
        if self._free > 0:
            return 0.0
        own = self._count(name)
        others = sum(min(self._count(one), own + 1) for one in self._waiting if one != name)
        return (own + others + 1) / self._places

    def _count(self, name: str) -> int:
        return sum(not turn.done() for turn in self._waiting.get(name, ()))

    @asynccontextmanager
    async def turn(self, name: str) -> AsyncIterator[None]:
        """Wait for a turn of `name`, and hold it for the block."""
        await self._enter(name)
        try:
            yield
        finally:
            self._pass_on()

    async def _enter(self, name: str) -> None:
        if self._free > 0:
            self._free -= 1
            return
        turn = asyncio.get_running_loop().create_future()
        line = self._waiting.setdefault(name, deque()) if name else self._nameless
        line.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._pass_on()
            raise

    def _pass_on(self) -> None:
        """Give the place to the name that has waited for longest, which then goes to the end."""
        while (turn := self._next()) is not None:
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1

    def _next(self) -> asyncio.Future[None] | None:
        if not self._waiting:
            return self._nameless.popleft() if self._nameless else None
        name, turns = self._waiting.popitem(last=False)
        turn = turns.popleft()
        if turns:
            self._waiting[name] = turns
        return turn
