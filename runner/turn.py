"""One turn while it lasts: what it has used, and how it is stopped."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress

from runner.events import TurnFinished, TurnReason
from runner.limits import Meter, TurnLimits
from runner.reply import Reply
from runner.waiting import Patience
from sandbox_service.client import ClientError

INTERRUPT_GRACE_S = 5.0
"""How long an interrupted cell may take to end, so that what it printed is not lost."""

BROKEN_OFF = "the turn was broken off."
WHY: dict[TurnReason, str] = {
    "no_answer": "the model gave no answer.",
    "step_limit": "the limit of steps for this turn is reached.",
    "time_limit": "the time for this turn is over.",
    "token_limit": "the limit of tokens for this turn is reached.",
    "cost_limit": "the limit of cost for this turn is reached.",
    "interrupted": "the user stopped this turn.",
}


class TurnStopped(Exception):
    """The turn ends here; its reason is noted in the turn."""


class Turn:
    """The state of one turn. `reply` is the reply that is being read, empty between steps."""

    def __init__(self, limits: TurnLimits, interrupt_grace_s: float = INTERRUPT_GRACE_S) -> None:
        self.meter = Meter(limits)
        self.patience = Patience()
        self.reply = Reply()
        self.begun_calls: set[str] = set()
        self.text = ""
        self.reason: TurnReason | None = None
        self._limits = limits
        self._interrupt_grace_s = interrupt_grace_s
        self._steps = 0
        self._timer: asyncio.TimerHandle | None = None
        self._interrupt: Callable[[], Awaitable[None]] | None = None
        self._interrupting: asyncio.Task[None] | None = None

    @property
    def why(self) -> str:
        """Why the turn ended before its answer, in a sentence for the model."""
        return WHY[self.reason] if self.reason else BROKEN_OFF

    def begin(self) -> None:
        """Start the clock of the time limit."""
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self._limits.time_s, self.stop, "time_limit")

    def begin_step(self) -> None:
        """Count one call of the model. Raises TurnStopped when there may be none."""
        self.check()
        self._steps += 1

    def take(self, reply: Reply) -> None:
        """A reply is whole."""
        self.text, self.reply = reply.text, Reply()

    def check_steps(self) -> None:
        """Raises TurnStopped when no further call of the model could see what is done now."""
        if self._steps >= self._limits.steps:
            self.finish("step_limit")

    def check(self) -> None:
        """Raises TurnStopped when the turn was stopped, or has used what it may."""
        reason = self.reason or self.meter.limit_reached(self.reply.chars)
        if reason is not None:
            self.finish(reason)

    def finish(self, reason: TurnReason) -> None:
        """End the turn from within. Raises TurnStopped."""
        self.reason = reason
        raise TurnStopped

    @contextmanager
    def running(
        self, call_id: str, interrupt: Callable[[], Awaitable[None]] | None
    ) -> Iterator[None]:
        """While a call runs, stopping the turn begins with interrupting the call."""
        self.begun_calls.add(call_id)
        self._interrupt = interrupt
        try:
            yield
        finally:
            self._interrupt = None

    def stop(self, reason: TurnReason) -> None:
        """End the turn: a running cell is interrupted and may say so; asked twice, at once."""
        now = asyncio.get_running_loop().time()
        is_first, self.reason = self.reason is None, self.reason or reason
        if is_first and self._interrupt is not None:
            self._interrupting = asyncio.create_task(_quietly(self._interrupt))
            self.patience.end_at(now + self._interrupt_grace_s)
        else:
            self.patience.end_at(now)

    async def end(self) -> None:
        """Stop the clock, and wait for nothing any more."""
        if self._timer is not None:
            self._timer.cancel()
        if self._interrupting is not None:
            self._interrupting.cancel()
            await asyncio.wait({self._interrupting})

    def finished(self) -> TurnFinished:
        """The last event."""
        return TurnFinished(self.text, self.reason or "answered", self._steps, self.meter.used)


async def _quietly(interrupt: Callable[[], Awaitable[None]]) -> None:
    """A cell that cannot be interrupted is left to itself when the grace is over."""
    with suppress(ClientError):
        await interrupt()
