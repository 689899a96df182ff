"""Which output messages of an execution are passed on as they come, which wait for its end, which are lost.

Three quarters of the budget are passed on at once. What is written later waits, and when there is too much
of it the oldest gives way: of a long output the beginning and the end are seen. What was cleared or
replaced costs nothing any more; but all that is ever passed is bounded too, and past that only the end is.
"""

import json
import re
from collections import OrderedDict

from agent.wire import Message

OUTPUT_TYPES = frozenset(
    {"stream", "display_data", "update_display_data", "execute_result", "error", "clear_output"}
)
MESSAGE_OVERHEAD_BYTES = 128
_REPLACED_BUDGETS = 7
_REPLACED_BYTES = 56 * 1024 * 1024
_WAITS = re.compile(rb'"wait": ?true')
PINNED_BYTES = 256 * 1024
_PINNED = frozenset({"error", "clear_output"})


def cost_of(message: Message) -> int:
    """What a message takes of the budget: small ones are mostly headers."""
    return message.line_size + MESSAGE_OVERHEAD_BYTES


class Outputs:
    """Takes the output messages of one execution, in their order."""

    def __init__(self, output_bytes: int) -> None:
        self._limit = output_bytes
        self._lifetime = output_bytes + min(output_bytes * _REPLACED_BUDGETS, _REPLACED_BYTES)
        self._clear_is_due: Message | None = None
        self._forget()

    @property
    def lost(self) -> "Lost":
        return self._held.lost

    def take(self, message: Message) -> list[Message]:
        """The messages to pass on now. A clearing that waits goes with what it waits for."""
        if message.msg_type == "clear_output":
            self._clear_is_due = message
            return [] if _WAITS.search(message.content) else self._cleared()
        passed = self._cleared() if self._clear_is_due else []
        if self._passes(message):
            return [*passed, message]
        self._held.add(message, self._limit - self._used)
        return passed

    def spend(self, message: Message) -> bool:
        """Whether there is room for a message of another kind, which then is passed on."""
        cost = cost_of(message)
        fits = self._used + self._held.bytes + cost <= self._limit
        self._used += cost if fits else 0
        return fits

    def is_too_large(self, message: Message) -> bool:
        """Whether it does not fit although everything before it did, and would take half of all room."""
        cost = cost_of(message)
        if self._held or cost <= self._limit // 2 or self._clear_is_due:
            return False
        return self._used - self._replaced_by(message) + cost > self._limit

    def rest(self) -> list[Message]:
        """What has waited for the end."""
        return list(self._held.messages.values())

    def _forget(self) -> None:
        self._used = 0
        self._shown: dict[str, int] = {}
        self._held = Held()

    def _cleared(self) -> list[Message]:
        clear, self._clear_is_due = self._clear_is_due, None
        assert clear is not None
        self._forget()
        if self._passes(clear):
            return [clear]
        self._held.add(clear, self._limit)
        return []

    def _passes(self, message: Message) -> bool:
        cost, replaced = cost_of(message), self._replaced_by(message)
        used = self._used + cost - replaced
        most = self._limit - self._held.bytes if replaced else self._limit * 3 // 4
        fits = used <= most and bool(replaced or not self._held)
        if not fits or cost > self._lifetime:
            return False
        self._lifetime -= cost
        self._used = used
        if name := display_id_of(message):
            self._shown[name] = cost
        return True

    def _replaced_by(self, message: Message) -> int:
        """What is free again when the message is passed on."""
        is_update = message.msg_type == "update_display_data"
        return self._shown.get(display_id_of(message), 0) if is_update else 0


class Lost:
    """How much was left out."""

    def __init__(self) -> None:
        self.messages = 0
        self.bytes = 0
        self.msg_type = ""

    def count(self, message: Message) -> None:
        self.messages += 1
        self.bytes += message.size
        self.msg_type = message.msg_type


class Held:
    """The latest messages, in their order; text gives way first, down to a quarter of the room."""

    def __init__(self) -> None:
        self.messages: dict[int, Message] = {}
        self.bytes = 0
        self.lost = Lost()
        self._texts: OrderedDict[int, int] = OrderedDict()
        self._others: OrderedDict[int, int] = OrderedDict()
        self._updates: dict[str, int] = {}
        self._text_bytes = 0
        self._pinned_bytes = 0
        self._count = 0

    def __bool__(self) -> bool:
        return bool(self.messages) or self.lost.messages > 0

    def add(self, message: Message, room: int) -> None:
        """Take the message, if it can ever fit, and let older ones go until all fit into `room` bytes."""
        cost = cost_of(message)
        if message.msg_type in _PINNED and self._pinned_bytes + cost <= PINNED_BYTES:
            self._pinned_bytes += cost
            self._keep(message)
            return
        if cost > room:
            self.lost.count(message)
            return
        if message.msg_type == "update_display_data":
            self._replace(message)
        kind = self._texts if message.msg_type == "stream" else self._others
        kind[self._keep(message)] = cost
        self.bytes += cost
        self._text_bytes += cost if kind is self._texts else 0
        while self.bytes > room:
            self._drop_oldest(room)

    def _keep(self, message: Message) -> int:
        self._count += 1
        self.messages[self._count] = message
        return self._count

    def _replace(self, message: Message) -> None:
        """Of the updates of one display the latest is enough."""
        name = display_id_of(message)
        before = self._updates.get(name)
        if before in self._others:
            self.bytes -= self._others.pop(before)
            del self.messages[before]
        self._updates[name] = self._count + 1

    def _drop_oldest(self, room: int) -> None:
        gives = self._texts if self._text_bytes > room // 4 or not self._others else self._others
        oldest, cost = gives.popitem(last=False)
        self.bytes -= cost
        self._text_bytes -= cost if gives is self._texts else 0
        self.lost.count(self.messages.pop(oldest))


def display_id_of(message: Message) -> str:
    """The name under which a display can be replaced; none for what has no name."""
    if message.msg_type == "stream" or b'"display_id"' not in message.content:
        return ""
    try:
        name = json.loads(message.content)["transient"]["display_id"]
    except (ValueError, KeyError, TypeError):
        return ""
    return name if isinstance(name, str) else ""
