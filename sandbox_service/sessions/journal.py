"""The events of one execution: numbered and written by who runs it, read by anybody on any replica."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

from sandbox_service.domain.errors import ServiceError, StoreTooSlow
from sandbox_service.domain.patience import patiently
from sandbox_service.domain.stores import EventPage, Journals, Lease
from sandbox_service.domain.values import (
    ArtifactRecord,
    EventType,
    ExecutionEvent,
    ExecutionRecord,
    ExecutionStatus,
    Output,
)
from sandbox_service.sessions.oversight import output_size

BATCH_BYTES = 128 * 1024
SMALL_OUTPUT_BYTES = 64 * 1024
NOT_STORED = "The output was too large for the line to the store and is not kept."
PAGE = 500
ALL = 1_000_000


class JournalWriter:
    """Numbers events from 1 and writes them in batches, in order, while the block of `running` lasts.

    Readers see an event when it is kept, never before. A writer that does its work a second time, after
    another replica was lost, gives the same numbers; the store leaves out what it has.
    """

    def __init__(self, journals: Journals, lease: Lease, record: ExecutionRecord) -> None:
        self.record = record
        self._journals = journals
        self._lease = lease
        self._last_id = 0
        self._unwritten: deque[ExecutionEvent] = deque()
        self._news = asyncio.Event()
        self._writing = asyncio.Lock()  # keeps batches in order
        self._failure: ServiceError | None = None

    @contextmanager
    def running(self) -> Iterator[None]:
        """Write in the background, for the block."""
        task = asyncio.create_task(self._write_forever())
        try:
            yield
        finally:
            task.cancel()

    def start(self, record: ExecutionRecord) -> None:
        self.record = record
        self._add("execution.started", record)

    def add_output(self, payload: dict[str, Any]) -> None:
        self._add("output", payload)

    def add_artifact(self, artifact: ArtifactRecord) -> None:
        self._add("artifact", artifact)

    def realign(self, last_id: int) -> None:
        """Events up to `last_id` were written before and cannot be told again: go on behind them."""
        if self._last_id < last_id:
            first = self._last_id + 1
            self._last_id = last_id
            gap = {"from_id": first, "to_id": last_id + 1, "reason": "replica_lost"}
            self._add("gap", gap)
            self.add_output({"action": "clear", "index": 0, "output": None})

    async def flush(self) -> None:
        """Return when all that was added is kept. Raises LeaseLost."""
        async with self._writing:
            if self._failure is not None:
                raise self._failure
            await self._write_batch()
            while self._unwritten:
                await self._write_batch()

    async def finish(self, record: ExecutionRecord) -> bool:
        """Write the final record; True if this made it final. Raises LeaseLost."""
        async with self._writing:
            while sum(map(_size, self._unwritten)) > BATCH_BYTES:
                await self._write_batch()
            self.record = record
            self._add("execution.completed", record)
            return await self._write_batch()

    def _add(
        self, kind: EventType, payload: dict[str, Any] | ArtifactRecord | ExecutionRecord
    ) -> None:
        if self._failure is not None:
            raise self._failure
        self._last_id += 1
        self._unwritten.append(ExecutionEvent(self._last_id, kind, payload))
        self._news.set()

    async def _write_forever(self) -> None:
        try:
            while True:
                await self._news.wait()
                async with self._writing:
                    await self._write_batch()
        except ServiceError as error:
            self._failure = error

    async def _write_batch(self) -> bool:
        """Write what there is, up to about BATCH_BYTES. What the store cannot take for its size is left out."""
        self._news.clear()
        batch, record = self._next_batch(), self.record
        try:
            return await patiently(lambda: self._journals.write(self._lease, record, batch))
        except StoreTooSlow:
            bare, small = [_bare(event) for event in batch], bare_record(record)
            return await patiently(lambda: self._journals.write(self._lease, small, bare))

    def _next_batch(self) -> list[ExecutionEvent]:
        batch: list[ExecutionEvent] = []
        left = BATCH_BYTES
        while self._unwritten and left > 0:
            batch.append(self._unwritten.popleft())
            left -= _size(batch[-1])
        if self._unwritten:
            self._news.set()
        return batch


def _size(event: ExecutionEvent) -> int:
    """About: for cutting batches. A record is written beside its event."""
    output = event.payload.get("output") if isinstance(event.payload, dict) else None
    return output_size([output]) if isinstance(output, dict) else 0


def bare_record(record: ExecutionRecord) -> ExecutionRecord:
    """The record without its outputs, saying so."""
    if not record.outputs:
        return record
    changes = {"outputs": [], "truncated": True, "notices": [*record.notices, NOT_STORED]}
    return record.model_copy(update=changes)


def _bare(event: ExecutionEvent) -> ExecutionEvent:
    """The event with a line in the place of a large output."""
    if isinstance(event.payload, ExecutionRecord):
        return replace(event, payload=bare_record(event.payload))
    if _size(event) <= SMALL_OUTPUT_BYTES or not isinstance(event.payload, dict):
        return event
    output = {"output_type": "stream", "name": "stderr", "text": f"\n[{NOT_STORED}]\n"}
    return replace(event, payload={**event.payload, "output": output})


async def read_events(
    journals: Journals, record: ExecutionRecord, after: int
) -> AsyncIterator[ExecutionEvent]:
    """Events with a number above `after`, as they come, up to execution.completed."""
    with journals.watch(record.id) as news:
        while True:
            news.clear()
            page = await journals.read(record.session_id, record.id, after, PAGE)
            for event in page.events:
                after = event.id
                yield event
            if page.is_final and after >= page.last_id:
                return
            if not page.events:
                await news.wait()


async def read_all(journals: Journals, record: ExecutionRecord) -> EventPage:
    """Every event that is kept."""
    return await journals.read(record.session_id, record.id, 0, ALL)


async def ended_from_outside(
    journals: Journals, record: ExecutionRecord, status: ExecutionStatus, notice: str
) -> ExecutionRecord:
    """The final record of an execution that nobody can run to its end, with the output that it showed."""
    outputs: list[Output] = list(record.outputs)
    with suppress(ServiceError):
        outputs = shown_outputs((await read_all(journals, record)).events)
    changes = {"status": status, "outputs": outputs, "notices": [*record.notices, notice]}
    return record.model_copy(update=changes)


def shown_outputs(events: Sequence[ExecutionEvent]) -> list[Output]:
    """The output nodes that a reader of these events holds. Pure."""
    nodes: list[list[Output]] = []
    for event in events:
        if event.type == "output" and isinstance(event.payload, dict):
            _apply(nodes, event.payload)
    return [_joined(parts) for parts in nodes]


def _apply(nodes: list[list[Output]], change: dict[str, Any]) -> None:
    """A node is kept as its parts: text that grows by each of them would be copied each time."""
    index, output = change["index"], change["output"]
    match change["action"]:
        case "clear":
            nodes.clear()
        case "extend" if index < len(nodes):
            nodes[index].append(output)
        case "replace" if index < len(nodes):
            nodes[index] = [output]
        case _:
            nodes.append([output])


def _joined(parts: list[Output]) -> Output:
    if len(parts) == 1:
        return parts[0]
    return {**parts[0], "text": "".join(part["text"] for part in parts)}
