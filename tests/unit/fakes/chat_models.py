"""Models without an endpoint: each plays what a test tells it, in the shape of a reply's pieces."""

import asyncio
import json
from collections.abc import AsyncGenerator, Sequence
from uuid import uuid4

from runner.limits import Usage
from runner.reply import CallDelta, Message, ReplyDelta
from runner.retries import ModelFailed
from runner.tool import NAME

Pieces = Sequence[ReplyDelta | Exception]


def says(text: str, usage: Usage | None = None) -> list[ReplyDelta]:
    """A reply of plain text, in two pieces."""
    half = len(text) // 2
    return [ReplyDelta(text[:half]), ReplyDelta(text[half:], ending="stop", usage=usage)]


def calls(*codes: str, usage: Usage | None = None) -> list[ReplyDelta]:
    """A reply that calls the tool properly, once per code, the arguments cut in the middle."""
    pieces = [piece for at, code in enumerate(codes) for piece in _call(at, code)]
    return [*pieces, ReplyDelta(ending="tool_calls", usage=usage)]


def calls_as(name: str, arguments: str, ending: str = "tool_calls") -> list[ReplyDelta]:
    """A reply with one call, its name and arguments as they are."""
    call = CallDelta(0, f"call_{uuid4().hex}", name, arguments)
    return [ReplyDelta(calls=(call,), ending=ending)]


def _call(index: int, code: str) -> list[ReplyDelta]:
    arguments = json.dumps({"code": code})
    half = len(arguments) // 2
    opening = CallDelta(index, f"call_{uuid4().hex}", NAME, arguments[:half])
    return [
        ReplyDelta(calls=(opening,)),
        ReplyDelta(calls=(CallDelta(index, arguments=arguments[half:]),)),
    ]


class PlaysReplies:
    """Plays one reply per request; an exception among the pieces is raised. Keeps the requests."""

    def __init__(self, *replies: Pieces) -> None:
        self._replies = list(replies)
        self.requests: list[list[Message]] = []

    async def stream(
        self, messages: Sequence[Message], tools: Sequence[Message]
    ) -> AsyncGenerator[ReplyDelta]:
        self.requests.append(list(messages))
        for piece in self._replies.pop(0) if self._replies else says("That is all."):
            await asyncio.sleep(0)
            if isinstance(piece, Exception):
                raise piece
            yield piece


class KnowsNoTools(PlaysReplies):
    """Its endpoint has refused the tools."""

    takes_tools = False


class NeverStopsWriting:
    """Writes the same words for ever."""

    async def stream(
        self, messages: Sequence[Message], tools: Sequence[Message]
    ) -> AsyncGenerator[ReplyDelta]:
        while True:
            await asyncio.sleep(0)
            yield ReplyDelta("and so on ")


class NeverAnswers:
    """Says a word, and is silent then."""

    async def stream(
        self, messages: Sequence[Message], tools: Sequence[Message]
    ) -> AsyncGenerator[ReplyDelta]:
        yield ReplyDelta("Well,")
        await asyncio.sleep(3600)


def busy(retry_after_s: float | None = 0.0) -> ModelFailed:
    """The endpoint is overloaded, and says when to come back."""
    return ModelFailed("overloaded", may_pass=True, retry_after_s=retry_after_s)
