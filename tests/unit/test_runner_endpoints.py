"""Endpoints that know less than they should, each asked over real HTTP."""

from typing import Any

import pytest

from runner.config import ModelConfig
from runner.limits import Usage
from runner.model import ModelFailed, OpenAIModel
from runner.reply import Reply, ToolCall
from runner.tool import NAME, chat_tool
from tests.unit.fakes.chat_endpoint import (
    Answer,
    ChatEndpoint,
    refused,
    streamed,
    text_chunk,
    whole,
)

QUESTION = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hi"}]


async def reply_of(endpoint: ChatEndpoint, *, times: int = 1, messages: Any = None) -> Reply:
    """The last of the replies to one conversation, sent so many times over one line."""
    async with endpoint.serving() as url, OpenAIModel(ModelConfig("key", "m", url)) as model:
        for _ in range(times):
            reply = Reply()
            async for delta in model.stream(messages or QUESTION, [chat_tool()]):
                reply.add(delta)
    return reply


async def test_usage_is_asked_for_and_read_with_what_was_cached() -> None:
    """The last chunk has no choices."""
    usage = {
        "prompt_tokens": 90,
        "completion_tokens": 7,
        "prompt_tokens_details": {"cached_tokens": 64},
    }
    endpoint = ChatEndpoint(
        lambda asked: streamed(text_chunk("hello"), {"choices": [], "usage": usage})
    )
    reply = await reply_of(endpoint)
    assert endpoint.requests[0]["stream_options"] == {"include_usage": True}
    assert reply.text == "hello"
    assert reply.usage == Usage(90, 7, 64)


async def test_an_endpoint_without_stream_options_is_asked_without_them_from_then_on() -> None:
    """One refusal, not one per request; the usage is unknown."""

    def respond(asked: dict[str, Any]) -> Answer:
        if "stream_options" in asked:
            return refused(400, "Unrecognized request argument supplied: stream_options")
        return streamed(text_chunk("hello"))

    endpoint = ChatEndpoint(respond)
    reply = await reply_of(endpoint, times=2)
    assert (reply.text, reply.usage) == ("hello", None)
    assert ["stream_options" in asked for asked in endpoint.requests] == [True, False, False]


async def test_an_endpoint_that_cannot_stream_is_asked_for_the_whole_reply() -> None:
    """Its tool calls come without numbers."""
    function = {"name": NAME, "arguments": '{"code": "1"}'}
    calls = [{"id": f"c{n}", "type": "function", "function": function} for n in (1, 2)]

    def respond(asked: dict[str, Any]) -> Answer:
        if asked.get("stream"):
            return refused(400, "streaming is not supported with tools")
        return Answer(whole({"content": None, "tool_calls": calls}))

    reply = await reply_of(ChatEndpoint(respond))
    assert reply.calls == [ToolCall(f"c{n}", NAME, '{"code": "1"}') for n in (1, 2)]
    assert reply.usage == Usage(5, 2)


async def test_a_whole_reply_is_read_though_a_stream_was_asked_for() -> None:
    """Some endpoints ignore `stream`."""
    reply = await reply_of(ChatEndpoint(lambda asked: Answer(whole({"content": "hello"}))))
    assert reply.text == "hello"


@pytest.mark.parametrize(
    "words",
    [
        "registry.ollama.ai/library/gemma:2b does not support tools",
        '"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set',
        "No endpoints found that support tool use.",
        "Function calling is not supported by this model",
    ],
)
async def test_an_endpoint_without_tools_gets_the_conversation_in_plain_text(words: str) -> None:
    """The model is told to write fenced code; earlier calls and results are text, roles in turns."""
    call = {
        "id": "c1",
        "type": "function",
        "function": {"name": NAME, "arguments": '{"code": "1"}'},
    }
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}
    messages = [
        *QUESTION,
        {"role": "assistant", "content": "Look:", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "1"},
        {"role": "user", "content": [{"type": "text", "text": "The picture:"}, picture]},
        {"role": "assistant", "content": "It is one."},
        {"role": "user", "content": "thanks"},
    ]

    def respond(asked: dict[str, Any]) -> Answer:
        return refused(400, words) if "tools" in asked else streamed(text_chunk("ok"))

    endpoint = ChatEndpoint(respond)
    assert (await reply_of(endpoint, messages=messages)).text == "ok"
    sent = endpoint.requests[-1]["messages"]
    assert [message["role"] for message in sent] == [
        "system", "user", "assistant", "user", "assistant", "user"
    ]  # fmt: skip
    assert "```python" in sent[0]["content"]
    assert sent[2]["content"] == "Look:\n\n```python\n1\n```"
    assert [part.get("text") for part in sent[3]["content"]] == [
        "Result of the code:\n1", "The picture:", None
    ]  # fmt: skip


async def test_a_refusal_that_names_nothing_known_is_raised_in_the_endpoints_own_words() -> None:
    """It is not tried again."""
    endpoint = ChatEndpoint(lambda asked: refused(400, "context length exceeded"))
    with pytest.raises(ModelFailed, match=r"400.*context length exceeded") as caught:
        await reply_of(endpoint)
    assert not caught.value.may_pass
    assert len(endpoint.requests) == 1


@pytest.mark.parametrize(
    ("answer", "may_pass", "retry_after_s"),
    [
        (refused(429, "slow down", retry_after="7"), True, 7.0),
        (refused(429, "no money", "insufficient_quota"), False, None),
        (refused(503, "later"), True, None),
        (refused(529, "overloaded"), True, None),
        (refused(401, "no key"), False, None),
        (streamed({"error": {"type": "overloaded_error", "message": "Overloaded"}}), True, None),
        (streamed({"error": {"type": "invalid", "message": "no"}}), False, None),
    ],
)
async def test_failures_say_whether_they_may_pass(
    answer: Answer, may_pass: bool, retry_after_s: float | None
) -> None:
    """Also those that come inside a stream."""
    with pytest.raises(ModelFailed) as caught:
        await reply_of(ChatEndpoint(lambda asked: answer))
    assert (caught.value.may_pass, caught.value.retry_after_s) == (may_pass, retry_after_s)


async def test_an_endpoint_that_is_not_there_may_come_back() -> None:
    """A connection that is refused is a failure that may pass."""
    async with OpenAIModel(ModelConfig("key", "m", "http://127.0.0.1:9/v1")) as model:
        with pytest.raises(ModelFailed, match="cannot be reached") as caught:
            await anext(model.stream(QUESTION, [chat_tool()]))
    assert caught.value.may_pass
