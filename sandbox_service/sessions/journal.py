"""The record of one execution as it grows: numbered events, readers that wait, and the final result."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any, Literal

from sandbox_service.domain.values import (
    ArtifactRecord,
    ExecutionEvent,
    ExecutionRecord,
    ExecutionStatus,
)

EventType = Literal["execution.started", "output", "artifact", "execution.completed"]


@dataclass(frozen=True, slots=True)
class _Entry:
    type: EventType
    payload: dict[str, Any] | ArtifactRecord | ExecutionRecord


class Journal:
    """Events of one execution, numbered from 1. One writer, any number of readers.

    A terminal record is set once and never changes; `on_final` is called with it, before any reader.
    """

    def __init__(
        self,
        record: ExecutionRecord,
        on_final: Callable[[ExecutionRecord], None] = lambda record: None,
    ) -> None:
        self.record = record
        self._on_final = on_final
        self._entries: list[_Entry] = []
        self._dropped = 0
        self._waiters: list[asyncio.Future[None]] = []

    @property
    def is_final(self) -> bool:
        return self.record.status.is_final

    @property
    def last_event_id(self) -> int:
        return self._dropped + len(self._entries)

    def start(self, record: ExecutionRecord) -> None:
        self.record = record
        self._append(_Entry("execution.started", record))

    def add_output(self, payload: dict[str, Any]) -> None:
        self._append(_Entry("output", payload))

    def add_artifact(self, artifact: ArtifactRecord) -> None:
        self._append(_Entry("artifact", artifact))

    def finish(self, record: ExecutionRecord) -> None:
        """Set the final result. Only the first call counts."""
        if self.is_final:
            return
        self.record = record
        self._on_final(record)
        self._append(_Entry("execution.completed", record))

    def forget_events(self) -> None:
        """Keep the final event only; readers of older ones go straight to it."""
        self._dropped += max(0, len(self._entries) - 1)
        del self._entries[:-1]

    async def wait(self) -> ExecutionRecord:
        """The final record."""
        while not self.is_final:
            await self._next_change()
        return self.record

    async def events(self, after: int = 0) -> AsyncIterator[ExecutionEvent]:
        """Events with an id above `after`, as they come, up to execution.completed."""
        position = max(after, self._dropped)
        while True:
            while position < self.last_event_id:
                entry = self._entries[position - self._dropped]
                position += 1
                yield ExecutionEvent(id=position, type=entry.type, payload=_payload(entry))
                position = max(position, self._dropped)
            if self.is_final:
                return
            await self._next_change()

    def _append(self, entry: _Entry) -> None:
        self._entries.append(entry)
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    async def _next_change(self) -> None:
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        await waiter


def _payload(entry: _Entry) -> dict[str, Any]:
    if isinstance(entry.payload, ExecutionRecord):
        return {"execution": entry.payload.model_dump(mode="json")}
    if isinstance(entry.payload, ArtifactRecord):
        return {"artifact": entry.payload.model_dump(mode="json")}
    return entry.payload


def ended_without_running(
    record: ExecutionRecord, status: ExecutionStatus, notice: str
) -> ExecutionRecord:
    """The final record of an execution that never reached the kernel, or was cut off."""
    return record.model_copy(update={"status": status, "notices": [*record.notices, notice]})
