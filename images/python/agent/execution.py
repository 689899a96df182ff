"""One execution: its numbered lines, what was left out of them, and who waits for more.

A line is kept as bytes, ready to be sent. Its `seq` is its place: line n of an execution whose
first `dropped` lines fell out of the ring is at index n - 1 - dropped.
"""

import asyncio
import json
from collections import deque
from typing import Any

from agent.wire import Message

MESSAGE_OVERHEAD_BYTES = 128
ERROR_LIMIT_BYTES = 256 * 1024
FREE_BYTES = 768 * 1024
_MAX_OUTSIZED = 16
_CAN_WAIT = frozenset({"execute_input", "execute_reply"})  # read with what follows
_ALWAYS = frozenset({"status", "error", "execute_reply", "clear_output"})


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
        self.most_bytes = output_bytes + FREE_BYTES
        self._budget = output_bytes
        self._outsized_bytes = output_bytes // 2
        self._outsized = 0
        self._is_spent = False
        self._free_bytes = FREE_BYTES
        self._over_messages = 0
        self._over_bytes = 0
        self._over_type = ""
        self._readers: set[asyncio.Event] = set()

    @property
    def last_seq(self) -> int:
        return self.dropped + len(self.lines)

    def add_message(self, channel: bytes, message: Message) -> None:
        """Pass the message on if the budget allows it; count it otherwise."""
        cost = message.line_size + MESSAGE_OVERHEAD_BYTES
        can_wait = message.msg_type in _CAN_WAIT
        if cost <= self._budget and not self._is_spent:
            self._budget -= cost
            self._add(message.to_json(channel), can_wait=can_wait)
        elif self._passes_anyway(message, cost):
            self._free_bytes -= cost
            self._add(message.to_json(channel), can_wait=can_wait)
        elif self._is_outsized(cost):
            self._outsized += 1
            self._add_gap("message_too_large", 1, message.size, message.msg_type)
        else:
            self._is_spent = True
            self._count(message)

    def finish(self, end: dict[str, Any]) -> None:
        """Add the gap that sums up the messages over budget, and the last line."""
        if self._over_messages:
            self._add_gap("budget", self._over_messages, self._over_bytes, self._over_type)
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

    def _passes_anyway(self, message: Message, cost: int) -> bool:
        is_small = message.size <= ERROR_LIMIT_BYTES and cost <= self._free_bytes
        return is_small and message.msg_type in _ALWAYS

    def _is_outsized(self, cost: int) -> bool:
        """Whether one message is over half of the whole budget: what follows it may still pass."""
        return cost > self._outsized_bytes and not self._is_spent and self._outsized < _MAX_OUTSIZED

    def _count(self, message: Message) -> None:
        self._over_messages += 1
        self._over_bytes += message.size
        self._over_type = message.msg_type

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
