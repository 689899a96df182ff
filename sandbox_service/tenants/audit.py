"""The audit log: events are taken at once, and written by one thread."""

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

from sandbox_service.domain.ports import Clock
from sandbox_service.domain.values import MIB

logger = logging.getLogger(__name__)

QUEUE_LENGTH = 10_000
QUEUE_BYTES = 64 * MIB
"""Of the texts in the events that wait: with recorded code they can be long."""
BATCH_WAIT_S = 0.1
RETRY_S = 1.0
CLOSE_DEADLINE_S = 10.0
REFUSALS_PER_S = 50
REFUSED = "request.refused"

Event = dict[str, Any]


class EventFiles(Protocol):
    """Where events are written: an AuditWriter, or the AuditFiles of one chain."""

    def append(self, events: Sequence[Event]) -> object:
        """Write the events, durably. Raises OSError."""
        ...

    def close(self) -> None: ...


class AuditTrail:
    """An AuditLog over files.

    What does not fit the queue, and refusals beyond REFUSALS_PER_S, are counted, and the count is
    an event: a flood neither fills the disk nor passes unseen. `on_drop` hears of every such event.
    """

    def __init__(
        self, files: EventFiles, clock: Clock, on_drop: Callable[[], None] = lambda: None
    ) -> None:
        self._files = files
        self._clock = clock
        self._on_drop = on_drop
        self._queue: deque[Event] = deque()
        self._dropped = 0  # rises in the caller's thread only
        self._reported = 0  # rises in the writer's thread only
        self._taken_bytes = 0  # rises in the caller's thread only
        self._written_bytes = 0  # rises in the writer's thread only
        self._refusals_second = 0
        self._refusals = 0
        self._wake = threading.Event()
        self._is_closing = threading.Event()
        self._thread = threading.Thread(target=self._write, name="audit", daemon=True)

    @contextmanager
    def running(self) -> Iterator["AuditTrail"]:
        """Write events while the context is open; what was taken is on the disk when it closes."""
        self._thread.start()
        try:
            yield self
        finally:
            self._is_closing.set()
            self._wake.set()
            self._thread.join(CLOSE_DEADLINE_S)
            self._files.close()

    def record(self, event: str, /, **details: object) -> None:
        """Take one event. Never waits; what is None is left out."""
        if self._is_full or (event == REFUSED and self._is_flood()):
            self._dropped += 1
            self._on_drop()
            return
        given = {name: value for name, value in details.items() if value not in (None, "")}
        taken = {"at": self._now(), "event": event, **given}
        self._taken_bytes += _text_bytes(taken)
        self._queue.append(taken)
        if not self._wake.is_set():
            self._wake.set()

    @property
    def _is_full(self) -> bool:
        waiting_bytes = self._taken_bytes - self._written_bytes
        return len(self._queue) >= QUEUE_LENGTH or waiting_bytes >= QUEUE_BYTES

    def _now(self) -> str:
        return self._clock.now().isoformat()

    def _is_flood(self) -> bool:
        second = int(self._clock.monotonic())
        if second != self._refusals_second:
            self._refusals_second, self._refusals = second, 0
        self._refusals += 1
        return self._refusals > REFUSALS_PER_S

    def _write(self) -> None:
        """Write what has come, a batch at a time, until closed and empty."""
        while not self._is_closing.is_set():
            self._wake.wait()
            self._is_closing.wait(BATCH_WAIT_S)
            self._wake.clear()
            if not self._flush():
                self._wake.set()
                self._is_closing.wait(RETRY_S)
        self._flush()

    def _flush(self) -> bool:
        """Write what is there now. What the disk refuses stays in the queue."""
        batch, dropped = list(self._queue), self._dropped - self._reported
        if dropped:
            batch.append({"at": self._now(), "event": "audit.dropped", "count": dropped})
        try:
            if batch:
                self._files.append(batch)
        except Exception:
            logger.exception("audit_write_failed events=%d", len(batch))
            return False
        self._reported += dropped
        for _ in range(len(batch) - bool(dropped)):
            self._written_bytes += _text_bytes(self._queue.popleft())
        return True


def _text_bytes(details: Event) -> int:
    return sum(len(value) for value in details.values() if isinstance(value, str))
