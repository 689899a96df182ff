"""How a turn ends before its answer, and what a model of the weaker kind is given."""

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path

import pytest

from runner.dispatch import Tool
from runner.events import CallFinished, CodeStarted, Event, OutputSeen, RetryWaiting, TurnFinished
from runner.history import History, read_record
from runner.limits import Price, TurnLimits, Usage
from runner.loop import CUT_OFF, Assistant
from runner.model import ChatModel
from runner.retries import ModelFailed
from runner.scripted_model.transcript import checked_messages
from runner.tool import NAME
from tests.unit.fakes.chat_models import (
    KnowsNoTools,
    NeverAnswers,
    NeverStopsWriting,
    PlaysReplies,
    busy,
    calls,
    calls_as,
    says,
)
from tests.unit.fakes.tools import EndsWhenInterrupted, IgnoresInterrupts, RepeatsTheCode


async def played(assistant: Assistant, question: str = "go") -> list[Event]:
    events = [event async for event in assistant.ask(question)]
    assert checked_messages({"messages": assistant.messages})
    return events


async def ended(assistant: Assistant, question: str = "go") -> TurnFinished:
    last = (await played(assistant, question))[-1]
    assert isinstance(last, TurnFinished)
    return last


def assistant_of(
    model: ChatModel,
    tool: Tool | None = None,
    limits: TurnLimits | None = None,
    **bounds: float,
) -> Assistant:
    return Assistant(model, tool or RepeatsTheCode(), limits, "Be brief.", **bounds)


def contents(assistant: Assistant) -> list[object]:
    return [message["content"] for message in assistant.messages[2:]]


async def test_an_interrupt_ends_the_cell_and_the_model_sees_what_it_printed() -> None:
    """The second call of the same reply is not run."""
    tool = EndsWhenInterrupted()
    assistant = assistant_of(PlaysReplies(calls("a", "b")), tool)
    async for event in assistant.ask("go"):
        if isinstance(event, OutputSeen):
            assistant.interrupt()
    assert isinstance(event, TurnFinished)
    assert (event.reason, tool.interrupts, tool.was_cut) == ("interrupted", 1, False)
    assert contents(assistant)[1:] == [
        "halfway\nThe code was interrupted.",
        "Not run: the user stopped this turn.",
        "(No answer: the user stopped this turn.)",
    ]


async def test_a_second_interrupt_waits_for_nothing() -> None:
    """A cell that ignores the first one is left to itself."""
    tool = IgnoresInterrupts()
    assistant = assistant_of(PlaysReplies(calls("a")), tool)
    async for event in assistant.ask("go"):
        if isinstance(event, OutputSeen):
            assistant.interrupt()
            asyncio.get_running_loop().call_later(0.01, assistant.interrupt)
    assert isinstance(event, TurnFinished)
    assert (event.reason, tool.was_cut) == ("interrupted", True)
    assert contents(assistant)[1] == "Broken off: the user stopped this turn."


async def test_a_cell_that_ignores_the_interrupt_is_left_after_a_while() -> None:
    """The person is not kept waiting by the code."""
    tool, limits = IgnoresInterrupts(), TurnLimits(time_s=0.05)
    assistant = assistant_of(PlaysReplies(calls("a")), tool, limits, interrupt_grace_s=0.05)
    finished = await ended(assistant)
    assert (finished.reason, tool.interrupts, tool.was_cut) == ("time_limit", 1, True)


async def test_the_time_limit_interrupts_the_cell_like_a_person() -> None:
    """What it printed is not lost."""
    tool = EndsWhenInterrupted()
    assistant = assistant_of(PlaysReplies(calls("a")), tool, TurnLimits(time_s=0.05))
    assert (await ended(assistant)).reason == "time_limit"
    assert (tool.interrupts, tool.was_cut) == (1, False)
    assert contents(assistant)[1] == "halfway\nThe code was interrupted."


async def test_a_tool_without_interrupt_is_cut_at_once() -> None:
    """Its generator is closed."""

    class OnlyCall:
        was_cut = False

        async def call(self, name: str, arguments: str) -> AsyncGenerator[CodeStarted]:
            yield CodeStarted("x")
            try:
                await asyncio.sleep(3600)
            finally:
                self.was_cut = True

    tool = OnlyCall()
    assistant = assistant_of(PlaysReplies(calls("a")), tool, TurnLimits(time_s=0.02))
    assert (await ended(assistant)).reason == "time_limit"
    assert tool.was_cut


async def test_an_interrupted_reply_stays_in_the_conversation() -> None:
    """As far as it was said, with a word on why it ends there."""
    assistant = assistant_of(NeverAnswers())
    asyncio.get_running_loop().call_later(0.02, assistant.interrupt)
    finished = await ended(assistant)
    assert (finished.text, finished.reason) == ("Well,", "interrupted")
    assert contents(assistant) == ["Well,\n(Stopped: the user stopped this turn.)"]


async def test_an_interrupt_between_turns_does_nothing() -> None:
    """The next question is answered."""
    assistant = assistant_of(PlaysReplies(says("Hi.")))
    assistant.interrupt()
    assert (await ended(assistant)).reason == "answered"


PRICE = Price(input=10.0, output=10.0)


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        (TurnLimits(tokens=250), "token_limit"),
        (TurnLimits(cost=0.0025, price=PRICE), "cost_limit"),
    ],
)
async def test_tokens_and_money_end_a_turn_before_the_next_request(
    limits: TurnLimits, reason: str
) -> None:
    """What was used is reported, also where a limit ended the turn."""
    usage = Usage(90, 10)
    model = PlaysReplies(*[calls(str(n), usage=usage) for n in range(9)])
    finished = await ended(assistant_of(model, limits=limits))
    assert finished.reason == reason
    assert len(model.requests) == 3
    assert finished.used.model == Usage(270, 30)


async def test_a_model_that_never_stops_writing_is_stopped_by_the_limit_of_tokens() -> None:
    """While it writes: it would never come to an end."""
    finished = await ended(assistant_of(NeverStopsWriting(), limits=TurnLimits(tokens=50)))
    assert finished.reason == "token_limit"
    assert finished.used.model.is_estimated
    assert len(finished.text) < 300


async def test_usage_is_estimated_where_the_endpoint_does_not_count() -> None:
    """And says so."""
    finished = await ended(assistant_of(PlaysReplies(says("a" * 40))))
    assert finished.used.model == Usage(2, 10, is_estimated=True)


async def test_a_busy_endpoint_is_waited_for_and_the_person_is_told() -> None:
    """A rate limit is no failure of the turn."""
    events = await played(assistant_of(PlaysReplies([busy()], says("Hi."))))
    assert events[0] == RetryWaiting("overloaded", 0.0)
    assert isinstance(events[-1], TurnFinished)
    assert events[-1].text == "Hi."


async def test_a_failure_of_the_model_is_raised_and_the_conversation_goes_on() -> None:
    """The next question is accepted and answered."""
    assistant = assistant_of(PlaysReplies([*says("Well"), ModelFailed("gone")], says("Hi.")))
    with pytest.raises(ModelFailed):
        await played(assistant)
    assert contents(assistant) == ["Well\n(Stopped: the turn was broken off.)"]
    assert (await ended(assistant)).text == "Hi."


async def test_empty_replies_are_asked_for_again_and_not_kept() -> None:
    """Endpoints refuse a history with an empty reply."""
    assistant = assistant_of(PlaysReplies(says(""), says(" \n"), says("Hi.")))
    finished = await ended(assistant)
    assert (finished.text, finished.steps) == ("Hi.", 3)
    assert contents(assistant) == ["Hi."]


async def test_a_model_that_says_nothing_at_all_ends_the_turn() -> None:
    """After a few attempts, without an error."""
    assistant = assistant_of(PlaysReplies(*[says("")] * 9))
    finished = await ended(assistant)
    assert (finished.reason, finished.steps) == ("no_answer", 3)
    assert contents(assistant) == ["(No answer: the model gave no answer.)"]


async def test_a_call_that_can_only_mean_one_thing_is_made_proper() -> None:
    """The tool's own name, well-formed JSON; also in the history, which the model learns from."""
    tool = RepeatsTheCode()
    assistant = assistant_of(PlaysReplies(calls_as("python", "print(1)")), tool)
    await played(assistant)
    assert tool.calls == [(NAME, '{"code": "print(1)"}')]
    function = assistant.messages[2]["tool_calls"][0]["function"]
    assert function == {"name": NAME, "arguments": '{"code": "print(1)"}'}


async def test_a_name_that_no_endpoint_takes_is_not_kept_in_the_history() -> None:
    """The tool hears it as it was."""
    tool = RepeatsTheCode()
    assistant = assistant_of(PlaysReplies(calls_as("web search!", "{}")), tool)
    await played(assistant)
    assert tool.calls == [("web search!", "{}")]
    assert assistant.messages[2]["tool_calls"][0]["function"]["name"] == "web_search_"


async def test_a_call_cut_off_at_the_length_limit_is_explained() -> None:
    """Advice that helps: not that its JSON is wrong."""
    tool = RepeatsTheCode()
    model = PlaysReplies(calls_as(NAME, '{"code": "print(', ending="length"))
    assistant = assistant_of(model, tool)
    await played(assistant)
    assert tool.calls == []
    assert contents(assistant)[1] == CUT_OFF


async def test_fenced_code_of_a_model_that_knows_no_calls_is_run_every_time() -> None:
    """The history shows it as calls, so that the model may learn."""
    tool = RepeatsTheCode()
    model = KnowsNoTools(says("First:\n```python\na = 1\n```"), says("```py\na\n```"), says("1"))
    assistant = assistant_of(model, tool)
    assert (await ended(assistant)).text == "1"
    assert [json.loads(arguments)["code"] for _, arguments in tool.calls] == ["a = 1", "a"]
    assert assistant.messages[2]["content"] == "First:"


async def test_fenced_code_of_a_model_that_can_call_is_its_answer() -> None:
    """It shows code to the person, before its first call as after it."""
    answer = "Like this:\n```python\na = 1\n```"
    for called in ([calls("a")], []):
        tool = RepeatsTheCode()
        assistant = assistant_of(PlaysReplies(*called, says(answer)), tool)
        assert (await ended(assistant)).text == answer
        assert len(tool.calls) == len(called)


async def test_a_conversation_is_stored_as_it_grows_and_taken_up_in_its_middle(
    tmp_path: Path,
) -> None:
    """Killed while a cell runs: the call is there, the tool's state too; the result says why not."""
    tool = RepeatsTheCode()
    with History.create(tmp_path) as history:
        assistant = Assistant(PlaysReplies(calls("a", "b")), tool, journal=history)
        async with aclosing(assistant.ask("go")) as events:
            async for event in events:
                if isinstance(event, CallFinished):
                    killed_at = history.path.read_bytes()
                    break
    history.path.write_bytes(killed_at)
    with History.open(history.path) as history:
        assert history.state == {"session_id": "sess_1"}
        model = PlaysReplies(says("Go on."))
        assistant = Assistant(model, tool, instructions="ignored", journal=history)
        assert (await ended(assistant, "again")).text == "Go on."
    roles = [message["role"] for message in read_record(history.path).messages]
    assert roles == [
        "system", "user", "assistant", "tool", "tool", "assistant", "user", "assistant"
    ]  # fmt: skip
    assert "the program ended in the middle of it" in model.requests[0][4]["content"]


async def test_what_a_turn_used_is_stored_with_it(tmp_path: Path) -> None:
    """One record per turn."""
    with History.create(tmp_path) as history:
        model = PlaysReplies(says("Hi.", Usage(3, 1)), says("Hi.", Usage(5, 1)))
        assistant = Assistant(model, RepeatsTheCode(), journal=history)
        await played(assistant)
        await played(assistant)
    used = [turn["model"]["input_tokens"] for turn in read_record(history.path).used]
    assert used == [3, 5]
