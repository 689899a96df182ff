"""A model's reply, put together from the pieces in which it arrives."""

import json
import re
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from runner.limits import Usage

Message = dict[str, Any]


@dataclass(slots=True)
class ToolCall:
    """A call of a tool, as far as it has arrived."""

    id: str = ""
    name: str = ""
    arguments: str = ""


@dataclass(frozen=True, slots=True)
class CallDelta:
    """A piece of one tool call; `index` says of which."""

    index: int
    id: str = ""
    name: str = ""
    arguments: str = ""


@dataclass(frozen=True, slots=True)
class ReplyDelta:
    """A piece of a reply; `ending` and `usage` come with the last ones."""

    text: str = ""
    calls: tuple[CallDelta, ...] = ()
    ending: str = ""
    usage: Usage | None = None


@dataclass(slots=True)
class Reply:
    """A reply put together from its pieces."""

    text: str = ""
    calls: list[ToolCall] = field(default_factory=list)
    ending: str = ""
    usage: Usage | None = None
    _by_index: dict[int, ToolCall] = field(default_factory=dict, repr=False)

    def add(self, delta: ReplyDelta) -> None:
        """Join the next piece."""
        self.text += delta.text
        self.ending = delta.ending or self.ending
        self.usage = delta.usage or self.usage
        for piece in delta.calls:
            call = self._call(piece)
            call.id = call.id or piece.id
            call.name = call.name or piece.name
            call.arguments += piece.arguments

    @property
    def is_empty(self) -> bool:
        """Whether the model said nothing and called nothing."""
        return not self.calls and not self.text.strip()

    @property
    def chars(self) -> int:
        """How much was written so far."""
        return len(self.text) + sum(len(call.arguments) for call in self.calls)

    def message(self) -> Message:
        """The reply as a message of the conversation."""
        message: Message = {"role": "assistant", "content": self.text or None}
        if self.calls:
            message["tool_calls"] = [_as_sent(call) for call in self.calls]
        return message

    def _call(self, piece: CallDelta) -> ToolCall:
        """The call that a piece belongs to: some endpoints give every call the same index."""
        known = self._by_index.get(piece.index)
        if known is None or (piece.id and known.id and piece.id != known.id):
            is_taken = any(call.id == piece.id for call in self.calls)
            known = ToolCall(piece.id if piece.id and not is_taken else f"call_{uuid4().hex}")
            self._by_index[piece.index] = known
            self.calls.append(known)
        return known


def _as_sent(call: ToolCall) -> Message:
    """The call for the history, in which endpoints refuse broken JSON and unusual names."""
    try:
        json.loads(call.arguments)
        arguments = call.arguments
    except ValueError:
        arguments = "{}"
    name = re.sub(r"[^a-zA-Z0-9_-]", "_", call.name)[:64] or "unnamed"
    function = {"name": name, "arguments": arguments}
    return {"id": call.id, "type": "function", "function": function}
