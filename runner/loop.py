"""The assistant loop: ask the model, run the code that it writes, feed back what came of it."""

from collections.abc import AsyncGenerator, Collection
from contextlib import aclosing
from typing import Any, Protocol, runtime_checkable

from runner.code_stream import CodeStreams
from runner.config import TurnLimits
from runner.dispatch import Tool
from runner.events import CallFinished, CodeDelta, Event, RetryWaiting, TextDelta, ToolEvent
from runner.history import Journal
from runner.limits import estimated_usage
from runner.messages import (
    broken_off,
    is_cut_off,
    last_word,
    results_of_open_calls,
    system_message,
    text_chars,
    tool_message,
    user_message,
)
from runner.model import ChatModel, Message
from runner.reply import Reply, ReplyDelta, ToolCall
from runner.retries import RetryBounds, with_retries
from runner.shape import Shaped, image_message
from runner.tool import chat_tool
from runner.turn import INTERRUPT_GRACE_S, Turn, TurnStopped
from runner.waiting import WaitingIsOver
from runner.weak_models import Habits, has_proper_call, mended
from sandbox_service.client import Image

INSTRUCTIONS = """\
You answer questions about data by writing and running Python with the tool execute_python.
Look at the data before you work with it. Check results before you state them, and state only \
numbers that the code printed. When you are done, answer in a few plain sentences and name the \
files that you saved."""

EMPTY_REPLIES = 2
"""How many replies without a word are asked for again in one turn."""

CUT_OFF = (
    "Nothing was run: your reply was cut off at its length limit. Write the code in smaller steps."
)
PROGRAM_ENDED = "the program ended in the middle of it; files and variables may be there still."


@runtime_checkable
class Interruptible(Protocol):
    """A tool whose running call can be told to end, and then says what came of it."""

    async def interrupt(self) -> None:
        """Stop the running code; variables are kept. Raises ClientError."""
        ...


@runtime_checkable
class Storable(Protocol):
    """A tool that can be taken up again in another process."""

    def state(self) -> dict[str, Any]:
        """What that process needs, as plain JSON."""
        ...


@runtime_checkable
class Learning(Protocol):
    """A model that finds out whether its endpoint knows tools; any other is taken to know them."""

    @property
    def takes_tools(self) -> bool: ...


class Assistant:
    """One conversation. `messages` is its history, always one that an endpoint accepts.

    With a `journal` it is written down as it grows, and goes on where the journal ends.
    """

    def __init__(
        self,
        model: ChatModel,
        tool: Tool,
        limits: TurnLimits | None = None,
        instructions: str = INSTRUCTIONS,
        *,
        journal: Journal | None = None,
        retries: RetryBounds | None = None,
        interrupt_grace_s: float = INTERRUPT_GRACE_S,
    ) -> None:
        self.messages: list[Message] = list(journal.messages) if journal else []
        self._model = model
        self._tool = tool
        self._limits = limits or TurnLimits()
        self._journal = journal
        self._retries = retries or RetryBounds()
        self._interrupt_grace_s = interrupt_grace_s
        self._noted = len(self.messages)
        self._turn: Turn | None = None
        if not self.messages:
            self.messages.append(system_message(instructions))
        self._answer_open_calls(PROGRAM_ENDED)
        self._add(*last_word(self.messages, PROGRAM_ENDED))

    async def ask(self, question: str) -> AsyncGenerator[Event]:
        """Answer one question, yielding what happens; the last event is TurnFinished.

        Raises ModelFailed and the tool's failures; the conversation can go on after them.
        """
        turn = self._turn = Turn(self._limits, self._interrupt_grace_s)
        self._add(user_message(question))
        turn.begin()
        try:
            async with aclosing(turn.patience.each(self._steps(turn))) as events:
                async for event in events:
                    yield event
        except (TurnStopped, WaitingIsOver):
            pass  # the turn knows its reason
        finally:
            self._turn = None
            self._end(turn)
            await turn.end()
        yield turn.finished()

    def interrupt(self) -> None:
        """End the running turn; a running cell is interrupted. Called twice: without waiting."""
        if self._turn is not None:
            self._turn.stop("interrupted")

    async def _steps(self, turn: Turn) -> AsyncGenerator[Event]:
        """Steps, until the model calls no tool."""
        empty_replies = 0
        while empty_replies <= EMPTY_REPLIES:
            turn.begin_step()
            async with aclosing(self._read(turn)) as events:
                async for event in events:
                    yield event
            reply = self._taken(turn)
            empty_replies += reply.is_empty
            if not reply.is_empty and not reply.calls:
                return
            turn.check_steps()
            async with aclosing(self._run(reply, turn)) as results:
                async for event in results:
                    yield event
        turn.finish("no_answer")

    async def _read(self, turn: Turn) -> AsyncGenerator[Event]:
        """Read one reply of the model into the turn, and pass on its text and code."""
        codes = CodeStreams()
        answer = with_retries(self._streamed, self._retries)
        async with aclosing(answer) as deltas:
            async for delta in deltas:
                if isinstance(delta, RetryWaiting):
                    yield delta
                    continue
                turn.reply.add(delta)
                if delta.text:
                    yield TextDelta(delta.text)
                for piece in codes.news(turn.reply.calls):
                    yield CodeDelta(piece.call, piece.text)
                turn.check()

    def _streamed(self) -> AsyncGenerator[ReplyDelta]:
        return self._model.stream(self.messages, [chat_tool()])

    def _taken(self, turn: Turn) -> Reply:
        """The whole reply, made proper, in the history. An empty one is left out of it."""
        self._meter(turn)
        takes_tools = not isinstance(self._model, Learning) or self._model.takes_tools
        reply = mended(turn.reply, Habits(takes_tools, has_proper_call(self.messages)))
        turn.take(reply)
        if not reply.is_empty:
            self._add(reply.message())
        return reply

    async def _run(self, reply: Reply, turn: Turn) -> AsyncGenerator[Event]:
        """Carry out the calls in their order; their pictures follow after the last result."""
        images: list[Image] = []
        for call in reply.calls:
            async with aclosing(self._call(call, reply, turn)) as events:
                async for event in events:
                    if isinstance(event, CallFinished):
                        self._add(tool_message(call.id, event.shaped.text))
                        images.extend(event.shaped.images)
                    yield event
            if turn.reason is not None:
                break
        self._answer_open_calls(turn.why, turn.begun_calls)
        if message := image_message(images[: self._limits.images]):
            self._add(message)
        turn.check()

    async def _call(self, call: ToolCall, reply: Reply, turn: Turn) -> AsyncGenerator[ToolEvent]:
        """Carry out one call, which can be interrupted while it runs."""
        if is_cut_off(call, reply):
            yield CallFinished(Shaped(CUT_OFF))
            return
        interrupt = self._tool.interrupt if isinstance(self._tool, Interruptible) else None
        with turn.running(call.id, interrupt):
            async with aclosing(self._tool.call(call.name, call.arguments)) as events:
                async for event in events:
                    if isinstance(event, CallFinished) and event.result is not None:
                        turn.meter.add_execution(event.result.duration_s)
                    self._note()
                    yield event

    def _end(self, turn: Turn) -> None:
        """Leave a history that an endpoint accepts, whatever ended the turn."""
        if not turn.reply.is_empty:
            self._meter(turn)
            turn.text = turn.reply.text
            self._add(broken_off(turn.text, turn.why))
        self._answer_open_calls(turn.why, turn.begun_calls)
        self._add(*last_word(self.messages, turn.why))
        if self._journal is not None:
            self._journal.end_turn(turn.meter.used)

    def _answer_open_calls(self, why: str, begun: Collection[str] = ()) -> None:
        self._add(*results_of_open_calls(self.messages, why, begun))

    def _meter(self, turn: Turn) -> None:
        """Count the reply as its endpoint does, else by its length."""
        estimated = estimated_usage(text_chars(self.messages), turn.reply.chars)
        turn.meter.add_reply(turn.reply.usage or estimated)

    def _add(self, *messages: Message) -> None:
        if messages:
            self.messages.extend(messages)
            self._note()

    def _note(self) -> None:
        """Write down what is new, at once: the process may end at any moment."""
        if self._journal is not None:
            state = self._tool.state() if isinstance(self._tool, Storable) else None
            self._journal.note(self.messages[self._noted :], state)
            self._noted = len(self.messages)
