"""What an endpoint turned out not to know, and how to ask without it."""

import re
from collections.abc import Sequence
from typing import Any

from runner.reply import Message
from runner.weak_models import NO_TOOLS_ADVICE, as_plain_conversation

_REFUSALS = {
    "stream_options": re.compile(r"stream_options|include_usage"),
    "strict": re.compile(r"\bstrict\b"),
    "tools": re.compile(
        r"(not|n't) support\w* (\w+ ){0,3}(tool|function)|found that support tool|auto\W{0,3} tool choice"
        r"|(tool|function)[\w ]{0,30} (not|n't|un)[ -]?support"
    ),
    "stream": re.compile(r"\bstream(ing)?\b"),
}
"""By the part of the request: the words with which endpoints refuse it, the plainest last."""


class Quirks:
    """Learns from refusals; from then on the part that was refused is not sent."""

    def __init__(self) -> None:
        self.left_out: set[str] = set()

    @property
    def takes_tools(self) -> bool:
        return "tools" not in self.left_out

    def learn(self, status: int, message: str) -> bool:
        """Whether the refusal names a part of the request that can be left out."""
        if status not in (400, 404, 405, 422, 501):
            return False
        for part, words in _REFUSALS.items():
            if part not in self.left_out and words.search(message.lower()):
                self.left_out.add(part)
                return True
        return False

    def request(self, messages: Sequence[Message], tools: Sequence[Message]) -> dict[str, Any]:
        """The request's fields beside the model's name."""
        asked: dict[str, Any] = {"messages": list(messages), "tools": self._tools(tools)}
        if not self.takes_tools:
            asked = {"messages": as_plain_conversation(messages, NO_TOOLS_ADVICE)}
        if "stream" not in self.left_out:
            asked["stream"] = True
            if "stream_options" not in self.left_out:
                asked["stream_options"] = {"include_usage": True}
        return asked

    def _tools(self, tools: Sequence[Message]) -> list[Message]:
        if "strict" not in self.left_out:
            return list(tools)
        return [_without_strict(tool) for tool in tools]


def _without_strict(tool: Message) -> Message:
    function = {name: value for name, value in tool["function"].items() if name != "strict"}
    return {**tool, "function": function}
