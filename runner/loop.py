"""The assistant loop: ask the model, run the code that it writes, feed back what came of it."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from runner.config import TurnLimits
from runner.dispatch import Tool
from runner.events import CallFinished, Event, TextDelta, TurnFinished
from runner.model import ChatModel, Message, Reply, ToolCall
from runner.shape import image_message
from runner.tool import chat_tool
from runner.waiting import DeadlinePassed, until
from sandbox_service.client import Image

INSTRUCTIONS = """\
You answer questions about data by writing and running Python with the tool execute_python.
Look at the data before you work with it. Check results before you state them, and state only \
numbers that the code printed. When you are done, answer in a few plain sentences and name the \
files that you saved."""


class StepLimitReached(Exception):
    """The model asked for more calls than a turn may have."""


class Assistant:
    """One conversation. `messages` is its history, always one that an endpoint accepts."""

    def __init__(
        self,
        model: ChatModel,
        tool: Tool,
        limits: TurnLimits | None = None,
        instructions: str = INSTRUCTIONS,
    ) -> None:
        self.messages: list[Message] = [{"role": "system", "content": instructions}]
        self._model = model
        self._tool = tool
        self._limits = limits or TurnLimits()
        self._steps = 0
        self._text = ""

    async def ask(self, question: str) -> AsyncGenerator[Event]:
        """Answer one question, yielding what happens; the last event is TurnFinished.

        Raises ModelFailed and the tool's failures; the conversation can go on after them.
        """
        self.messages.append({"role": "user", "content": question})
        self._steps, self._text = 0, ""
        deadline = asyncio.get_running_loop().time() + self._limits.time_s
        told = "Not run: the turn was broken off."
        try:
            async with aclosing(until(deadline, self._turn())) as events:
                async for event in events:
                    yield event
            finished = TurnFinished(self._text, "answered", self._steps)
        except DeadlinePassed:
            told = "Stopped: the time for this turn is over."
            finished = TurnFinished(self._text, "time_limit", self._steps)
        except StepLimitReached:
            told = "Not run: the limit of steps for this turn is reached."
            finished = TurnFinished(self._text, "step_limit", self._steps)
        finally:
            self._answer_open_calls(told)
        yield finished

    async def _turn(self) -> AsyncGenerator[Event]:
        """Steps, until the model calls no tool."""
        while True:
            reply = Reply()
            self._steps += 1
            async with aclosing(self._reply(reply)) as deltas:
                async for delta in deltas:
                    yield delta
            if not reply.calls:
                return
            if self._steps >= self._limits.steps:
                raise StepLimitReached
            async with aclosing(self._run(reply.calls)) as events:
                async for event in events:
                    yield event

    async def _reply(self, reply: Reply) -> AsyncGenerator[Event]:
        """Read one reply of the model into `reply`, and into the history once it is whole."""
        async with aclosing(self._model.stream(self.messages, [chat_tool()])) as deltas:
            async for delta in deltas:
                reply.add(delta)
                if delta.text:
                    yield TextDelta(delta.text)
        self._text = reply.text
        self.messages.append(reply.message())

    async def _run(self, calls: list[ToolCall]) -> AsyncGenerator[Event]:
        """Carry out the calls in their order; their pictures follow after the last result."""
        images: list[Image] = []
        for call in calls:
            async with aclosing(self._tool.call(call.name, call.arguments)) as events:
                async for event in events:
                    if isinstance(event, CallFinished):
                        self.messages.append(_tool_message(call.id, event.shaped.text))
                        images.extend(event.shaped.images)
                    yield event
        if message := image_message(images[: self._limits.images]):
            self.messages.append(message)

    def _answer_open_calls(self, told: str) -> None:
        """Give every call a result: endpoints refuse a history in which one is missing."""
        since = next(
            (i for i, m in enumerate(reversed(self.messages)) if m.get("tool_calls")), None
        )
        if since is None:
            return
        request, *answers = self.messages[-since - 1 :]
        answered = {answer.get("tool_call_id") for answer in answers}
        for call in request["tool_calls"]:
            if call["id"] not in answered:
                self.messages.append(_tool_message(call["id"], told))


def _tool_message(call_id: str, text: str) -> Message:
    return {"role": "tool", "tool_call_id": call_id, "content": text}
