"""The assistant loop against the scripted model over real HTTP, cells run by a fake service."""

import base64
import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import PIL.Image
import pytest
import pytest_asyncio

from runner.config import ModelConfig, TurnLimits
from runner.dispatch import PythonTool
from runner.events import (
    CallFinished,
    CodeDelta,
    CodeStarted,
    Event,
    OutputSeen,
    TextDelta,
    TurnFinished,
)
from runner.loop import Assistant
from runner.model import ModelFailed, OpenAIModel
from runner.scripted_model.server import serving
from runner.scripted_model.transcript import checked_messages
from sandbox_service.client import SandboxClient, Unauthenticated
from tests.unit.fakes.rest_service import KEY, RestService


@pytest_asyncio.fixture(scope="module")
async def endpoint() -> AsyncIterator[str]:
    async with serving() as base_url:
        yield base_url


@asynccontextmanager
async def assistant_playing(
    script: str, endpoint: str, service: RestService | None = None, limits: TurnLimits | None = None
) -> AsyncIterator[Assistant]:
    transport = httpx.ASGITransport(app=service or RestService())
    client = SandboxClient("http://service.test", KEY, transport=transport)
    model = OpenAIModel(ModelConfig("none", script, endpoint))
    async with client, model, PythonTool(client) as tool:
        yield Assistant(model, tool, limits)


async def asked(assistant: Assistant, question: str = "go") -> list[Event]:
    return [event async for event in assistant.ask(question)]


def ending(events: list[Event]) -> tuple[str, str, int]:
    """Text, reason and steps of a finished turn."""
    last = events[-1]
    assert isinstance(last, TurnFinished)
    return last.text, last.reason, last.steps


def roles(assistant: Assistant) -> list[str]:
    return [message["role"] for message in assistant.messages]


def small_png() -> str:
    """A picture as a kernel shows it."""
    content = io.BytesIO()
    PIL.Image.new("RGB", (8, 4)).save(content, "PNG")
    return base64.b64encode(content.getvalue()).decode()


def code_of(events: list[Event]) -> list[str]:
    return [event.code for event in events if isinstance(event, CodeStarted)]


async def test_text_and_tool_calls_are_put_together_from_pieces(endpoint: str) -> None:
    """Streamed deltas join to the text and code that the script wrote."""
    async with assistant_playing("two-calls", endpoint) as assistant:
        events = await asked(assistant)
    assert code_of(events) == ["x = 6\nprint(x)", "print(x * 7)"]
    pieces = [event.text for event in events if isinstance(event, TextDelta)]
    assert "".join(pieces) == "Two steps at once.In order: 6 then 42."
    assert len(pieces) > 3


async def test_several_calls_of_a_turn_run_in_order_on_one_session(endpoint: str) -> None:
    """The second call sees the variable of the first; both results go back together."""
    service = RestService()
    async with assistant_playing("two-calls", endpoint, service) as assistant:
        events = await asked(assistant)
    assert roles(assistant) == ["system", "user", "assistant", "tool", "tool", "assistant"]
    assert ending(events) == ("In order: 6 then 42.", "answered", 2)
    assert [session.gone for session in service.sessions.values()] == ["session_closed"]


async def test_a_traceback_goes_back_and_the_model_mends_its_code(endpoint: str) -> None:
    """The script reads the NameError, corrects itself, and quotes the number printed."""
    async with assistant_playing("fix-own-error", endpoint) as assistant:
        events = await asked(assistant)
    finished = [event.result for event in events if isinstance(event, CallFinished)]
    assert [result.status for result in finished if result] == ["error", "ok"]
    assert ending(events) == ("The total is 5050.", "answered", 3)


async def test_code_is_seen_while_the_model_writes_it(endpoint: str) -> None:
    """In pieces that name their call, before any of it runs."""
    async with assistant_playing("two-calls", endpoint) as assistant:
        events = await asked(assistant)
    pieces = [event for event in events if isinstance(event, CodeDelta)]
    assert ["".join(piece.text for piece in pieces if piece.call == n) for n in (0, 1)] == [
        "x = 6\nprint(x)", "print(x * 7)"
    ]  # fmt: skip
    assert len(pieces) > 2
    assert max(map(events.index, pieces)) < events.index(CodeStarted("x = 6\nprint(x)"))


async def test_output_is_seen_before_the_call_is_over(endpoint: str) -> None:
    """Code, output, end of call: in this order."""
    async with assistant_playing("echo", endpoint) as assistant:
        events = await asked(assistant, "print('hello')")
    kinds = [type(event) for event in events if not isinstance(event, TextDelta | CodeDelta)]
    assert kinds == [CodeStarted, OutputSeen, CallFinished, TurnFinished]


async def test_the_conversation_goes_on_with_its_state(endpoint: str) -> None:
    """A second question uses the variable of the first."""
    async with assistant_playing("echo", endpoint) as assistant:
        await asked(assistant, "n = 20")
        events = await asked(assistant, "n + 1")
    assert ending(events) == ("21", "answered", 2)


async def test_malformed_arguments_are_explained_to_the_model(endpoint: str) -> None:
    """The history stays valid JSON, and the model gets a second chance."""
    async with assistant_playing("malformed-arguments", endpoint) as assistant:
        events = await asked(assistant)
    assert assistant.messages[2]["tool_calls"][0]["function"]["arguments"] == "{}"
    assert ending(events) == ("well formed", "answered", 3)


async def test_pictures_follow_after_the_last_tool_message(endpoint: str) -> None:
    """One user message with image parts; no base64 in any text."""
    png = small_png()
    shown: dict[str, Any] = {
        "output_type": "display_data", "metadata": {},
        "data": {"image/png": png, "text/plain": "<Figure>"},
    }  # fmt: skip
    service = RestService(new_kernel=lambda: lambda code: [shown])
    async with assistant_playing("two-calls", endpoint, service) as assistant:
        await asked(assistant)
    assert roles(assistant)[3:] == ["tool", "tool", "user", "assistant"]
    parts = assistant.messages[5]["content"]
    assert [part["type"] for part in parts] == ["text", "image_url", "image_url"]
    assert parts[1]["image_url"]["url"].startswith("data:image/png;base64,iVBOR")
    assert "iVBOR" not in assistant.messages[3]["content"]


async def test_the_limit_of_steps_ends_the_turn_and_leaves_a_valid_history(endpoint: str) -> None:
    """The call that was not run has an answer, so that the next question is accepted."""
    async with assistant_playing("never-ends", endpoint, limits=TurnLimits(steps=3)) as assistant:
        events = await asked(assistant)
        assert checked_messages({"messages": assistant.messages})
        again = await asked(assistant)
    assert code_of(events) == ["print(0)", "print(1)"]
    assert ending(events) == ("", "step_limit", 3)
    assert isinstance(again[-1], TurnFinished)


async def test_the_time_limit_ends_the_turn_and_leaves_a_valid_history(endpoint: str) -> None:
    """No time at all: nothing is run, the history is one that an endpoint accepts."""
    async with assistant_playing("never-ends", endpoint, limits=TurnLimits(time_s=0)) as assistant:
        events = await asked(assistant)
    assert [ending(events)] == [("", "time_limit", 1)]
    assert checked_messages({"messages": assistant.messages})


async def test_a_turn_that_is_left_early_leaves_a_valid_history(endpoint: str) -> None:
    """The consumer goes away while a cell runs."""
    async with assistant_playing("two-calls", endpoint) as assistant:
        events = assistant.ask("go")
        async for event in events:
            if isinstance(event, CodeStarted):
                break
        await events.aclose()
        assert checked_messages({"messages": assistant.messages})
        assert roles(assistant) == ["system", "user", "assistant", "tool", "tool", "assistant"]
    told = [message["content"] for message in assistant.messages[3:]]
    assert told == [
        "Broken off: the turn was broken off.",
        "Not run: the turn was broken off.",
        "(No answer: the turn was broken off.)",
    ]


async def test_an_expired_session_is_replaced_and_the_model_is_told(endpoint: str) -> None:
    """The code runs in a new session; the result begins with what was lost."""
    service = RestService()
    async with assistant_playing("echo", endpoint, service) as assistant:
        await asked(assistant, "n = 20")
        service.end_sessions("session_expired")
        events = await asked(assistant, "print('n' in globals())")
    assert isinstance(events[-1], TurnFinished)
    assert events[-1].text == (
        "A new session was opened, since the one before is over: it was not used for too long. "
        "Variables and imports are gone; there are no files.\nFalse"
    )


async def test_a_failure_of_the_service_is_raised_and_the_history_stays_valid(
    endpoint: str,
) -> None:
    """Our own failure is never shown to the model as the program's output."""
    transport = httpx.ASGITransport(app=RestService())
    client = SandboxClient("http://service.test", "wrong", transport=transport)
    model = OpenAIModel(ModelConfig("none", "echo", endpoint))
    async with client, model, PythonTool(client) as tool:
        assistant = Assistant(model, tool)
        with pytest.raises(Unauthenticated):
            await asked(assistant)
    assert checked_messages({"messages": assistant.messages})


async def test_an_unknown_model_is_named(endpoint: str) -> None:
    """The endpoint's own words reach the caller."""
    async with assistant_playing("gpt-0", endpoint) as assistant:
        with pytest.raises(ModelFailed, match=r"404.*gpt-0"):
            await asked(assistant)
