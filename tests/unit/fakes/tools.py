"""Tools for the loop, named by how they behave."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

from runner.events import CallFinished, CodeStarted, OutputSeen, ToolEvent
from runner.shape import Shaped
from sandbox_service.client import OutputChanged


def printed(text: str) -> OutputSeen:
    """A line that the code prints."""
    node: dict[str, Any] = {"output_type": "stream", "name": "stdout", "text": text}
    return OutputSeen(OutputChanged(1, "append", 0, node))


class RepeatsTheCode:
    """Answers each call with its own arguments. `calls` keeps their names and arguments."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str]] = []
        self.session_id: str | None = None

    async def call(self, name: str, arguments: str) -> AsyncGenerator[ToolEvent]:
        self.calls.append((name, arguments))
        self.session_id = "sess_1"
        yield CodeStarted(arguments)
        yield CallFinished(Shaped(f"ran {arguments}"))

    def state(self) -> dict[str, Any]:
        return {"session_id": self.session_id}


class EndsWhenInterrupted:
    """Runs for ever; an interrupt makes it say what it had printed."""

    def __init__(self) -> None:
        self.interrupts = 0
        self.was_cut = False
        self._stop = asyncio.Event()

    async def call(self, name: str, arguments: str) -> AsyncGenerator[ToolEvent]:
        yield CodeStarted(arguments)
        yield printed("halfway")
        try:
            await self._stop.wait()
        except asyncio.CancelledError:
            self.was_cut = True
            raise
        yield CallFinished(Shaped("halfway\nThe code was interrupted."))

    async def interrupt(self) -> None:
        self.interrupts += 1
        self._stop.set()


class IgnoresInterrupts(EndsWhenInterrupted):
    """Runs on, whatever it is told."""

    async def interrupt(self) -> None:
        self.interrupts += 1
