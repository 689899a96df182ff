"""One execution: its numbered lines, what was left out of them, and who waits for more.

A line is kept as bytes, ready to be sent. Its `seq` is its place: line n of an execution whose
first `dropped` lines fell out of the ring is at index n - 1 - dropped.
"""

import asyncio
import json
from collections import deque
from typing import Any

from agent.outputs import OUTPUT_TYPES, PINNED_BYTES, Outputs, cost_of
from agent.shrinking import Superseded, shrunk
from agent.wire import Message

_FREE_BYTES = 512 * 1024
_FREE_MESSAGE_BYTES = 256 * 1024
_MAX_OUTSIZED = 16
_CAN_WAIT = frozenset({"execute_input", "execute_reply"})  # read with what follows
_ALWAYS = frozenset({"status", "execute_reply"})


class Execution:
    """Filled by the kernel's messages, read by any number of readers."""

    def __init__(self, execution_id: str, output_bytes: int) -> None:
        self.id = execution_id
        self.is_finished = False
        self.has_reply = False
        self.has_idle = False
        self.lines: deque[bytes] = deque()
        self.kept_bytes = 0
        self.dropped = 0
        self.dropped_bytes = 0
        self.most_bytes = output_bytes + PINNED_BYTES + _FREE_BYTES
        self._outputs = Outputs(output_bytes)
        self._superseded = Superseded()
        self._outsized = 0
        self._free_bytes = _FREE_BYTES
        self._readers: set[asyncio.Event] = set()

    @property
    def last_seq(self) -> int:
        return self.dropped + len(self.lines)

    def add_message(self, channel: bytes, message: Message) -> None:
        """Pass the message on if the budget allows it; keep it for the end, or count it, otherwise."""
        if channel == b"iopub" and message.msg_type in OUTPUT_TYPES:
            self._add_output(message)
        elif self._outputs.spend(message) or self._passes_anyway(message):
            self._add(message.to_json(channel), can_wait=message.msg_type in _CAN_WAIT)
        elif self._is_outsized(message):
            self._add_outsized(message)
        else:
            self._outputs.lost.count(message)

    def finish(self, end: dict[str, Any]) -> None:
        """Add what has waited for the end, behind a gap for what is lost, and the last line."""
        waited = self._outputs.rest()
        if waited and waited[0].msg_type == "clear_output":
            self._add(waited.pop(0).to_json(b"iopub"))
        lost = self._outputs.lost
        if lost.messages:
            self._add_gap("budget", lost.messages, lost.bytes, lost.msg_type)
        for message in waited:
            self._add(message.to_json(b"iopub"))
        self.is_finished = True
        self._add(_line({"kind": "end", **end}))

    def drop_oldest(self) -> int:
        """Let the oldest line fall out; returns its size."""
        size = len(self.lines.popleft())
        self.dropped += 1
        self.dropped_bytes += size
        self.kept_bytes -= size
        return size

    def read(self, after: int, limit_bytes: int) -> tuple[bytes, int]:
        """Lines after seq `after`, about `limit_bytes` of them, and the seq of the last one."""
        pieces: list[bytes] = []
        if after < self.dropped:
            pieces.append(self._ring_gap(after))
            after = self.dropped
        size = 0
        for index in range(after - self.dropped, len(self.lines)):
            pieces.append(self.lines[index])
            after += 1
            size += len(pieces[-1])
            if size >= limit_bytes:
                break
        return b"".join(pieces), after

    def subscribe(self) -> asyncio.Event:
        """An event that is set whenever there may be more to read."""
        event = asyncio.Event()
        self._readers.add(event)
        return event

    def unsubscribe(self, event: asyncio.Event) -> None:
        self._readers.discard(event)

    def _add_output(self, message: Message) -> None:
        if self._is_outsized(message):
            self._add_outsized(message)
            return
        for passed in self._outputs.take(message):
            self._superseded.note(passed, self.last_seq + 1)
            self._add(passed.to_json(b"iopub"))
        if self.kept_bytes > self.most_bytes:
            self._shrink()

    def _shrink(self) -> None:
        for number in self._superseded.taken():
            index = number - 1 - self.dropped
            if index >= 0:
                line = shrunk(self.lines[index])
                self.kept_bytes += len(line) - len(self.lines[index])
                self.lines[index] = line
            if self.kept_bytes <= self.most_bytes:
                return

    def _passes_anyway(self, message: Message) -> bool:
        cost = cost_of(message)
        is_small = message.size <= _FREE_MESSAGE_BYTES and cost <= self._free_bytes
        if not is_small or message.msg_type not in _ALWAYS:
            return False
        self._free_bytes -= cost
        return True

    def _is_outsized(self, message: Message) -> bool:
        """Whether it is a gap of its own: what follows it may still pass."""
        return self._outsized < _MAX_OUTSIZED and self._outputs.is_too_large(message)

    def _add_outsized(self, message: Message) -> None:
        self._outsized += 1
        self._add_gap("message_too_large", 1, message.size, message.msg_type)

    def _ring_gap(self, after: int) -> bytes:
        gap = _gap("ring", self.dropped - after, self.dropped_bytes, "")
        return _numbered(self.dropped, gap)

    def _add_gap(self, reason: str, messages: int, size: int, msg_type: str) -> None:
        self._add(_gap(reason, messages, size, msg_type))

    def _add(self, members: bytes, *, can_wait: bool = False) -> None:
        line = _numbered(self.last_seq + 1, members)
        self.lines.append(line)
        self.kept_bytes += len(line)
        if not can_wait:
            for event in self._readers:
                event.set()


def _gap(reason: str, messages: int, size: int, msg_type: str) -> bytes:
    return _line(
        {
            "kind": "gap",
            "reason": reason,
            "messages": messages,
            "bytes": size,
            "msg_type": msg_type,
        }
    )


def _line(members: dict[str, Any]) -> bytes:
    return json.dumps(members).encode()[1:] + b"\n"


def _numbered(seq: int, members: bytes) -> bytes:
    return b'{"seq":%d,%b' % (seq, members)
