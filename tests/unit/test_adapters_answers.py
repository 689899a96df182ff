"""What goes back to a model: text as text, pictures in the protocol's own form."""

import json
from typing import Any

import pytest

from runner.adapters import (
    anthropic_messages,
    google_genai,
    langchain,
    openai_agents,
    openai_chat,
    openai_responses,
    plain,
    pydantic_ai,
)
from runner.shape import IMAGES_NOTE
from tests.unit.fakes.python_tools import PNG, PNG_BASE64, python_that_draws

DATA_URL = f"data:image/png;base64,{PNG_BASE64}"
RAN = (
    "ran plot(1)\n[picture 1, 40 x 30 pixels]\n"
    "Files given to the user, link them as sandbox:/mnt/data/<name>: table.csv (4 B)"
)


def chat_call(name: str, code: str, number: int = 1) -> dict[str, Any]:
    function = {"name": name, "arguments": json.dumps({"code": code})}
    return {"id": f"call_{number}", "type": "function", "function": function}


async def test_chat_results_are_followed_by_one_message_of_pictures() -> None:
    """After the last result; pictures are in no tool message."""
    calls = [chat_call("execute_python", "plot(1)"), chat_call("execute_python", "plot(2)", 2)]
    async with python_that_draws() as python:
        answers = await openai_chat.answer_calls(python, {"content": None, "tool_calls": calls})
    assert [answer["role"] for answer in answers] == ["tool", "tool", "user"]
    assert answers[0] == {"role": "tool", "tool_call_id": "call_1", "content": RAN}
    note, *pictures = answers[2]["content"]
    assert note == {"type": "text", "text": IMAGES_NOTE}
    assert pictures == [{"type": "image_url", "image_url": {"url": DATA_URL}}] * 2


async def test_responses_results_hold_text_and_pictures() -> None:
    """As a list of parts; without a picture as plain text."""
    call = {"type": "function_call", "call_id": "c", "name": "execute_python"}
    output = [
        {"type": "message", "role": "assistant", "content": []},
        {**call, "arguments": '{"code": "plot(1)"}'},
        {**call, "arguments": '{"code": "1"}'},
    ]
    async with python_that_draws() as python:
        drawn, printed = await openai_responses.answer_calls(python, output)
    assert (drawn["type"], drawn["call_id"]) == ("function_call_output", "c")
    assert drawn["output"] == [
        {"type": "input_text", "text": RAN},
        {"type": "input_image", "image_url": DATA_URL, "detail": "auto"},
    ]
    assert printed["output"].startswith("ran 1\n")


async def test_anthropic_results_stand_in_one_message() -> None:
    """With image blocks; a call that ran nothing is an error."""
    block = {"type": "tool_use", "name": "execute_python"}
    content = [
        {"type": "text", "text": "I will draw."},
        {**block, "id": "t1", "input": {"code": "plot(1)"}},
        {**block, "id": "t2", "input": {}},
    ]
    async with python_that_draws() as python:
        (message,) = await anthropic_messages.answer_calls(python, {"content": content})
    drawn, refused = message["content"]
    assert message["role"] == "user"
    assert drawn["content"] == [
        {"type": "text", "text": RAN},
        {
            "type": "image",
            "source": {"type": "base64", "media_type": "image/png", "data": PNG_BASE64},
        },
    ]
    assert refused["is_error"] is True
    assert "'code' is missing" in refused["content"][0]["text"]


@pytest.mark.parametrize("has_id", [True, False])
async def test_google_pictures_come_after_the_responses(has_id: bool) -> None:
    """In a content of their own: beside a response they would be read as the model's words."""
    call = {"name": "execute_python", "args": {"code": "plot(1)"}} | ({"id": "f"} if has_id else {})
    parts = [{"text": "I will draw."}, {"function_call": call}]
    async with python_that_draws() as python:
        responses, pictures = await google_genai.answer_calls(
            python, {"role": "model", "parts": parts}
        )
    (part,) = responses["parts"]
    assert part["function_response"]["response"] == {"output": RAN}
    assert part["function_response"].get("id") == ("f" if has_id else None)
    inline = {"inline_data": {"mime_type": "image/png", "data": PNG}}
    assert pictures == {"role": "user", "parts": [{"text": IMAGES_NOTE}, inline]}


async def test_google_pictures_can_be_inside_the_responses() -> None:
    """As newer models take them."""
    call = {"name": "execute_python", "args": {"code": "plot(1)"}}
    content = {"role": "model", "parts": [{"function_call": call}]}
    async with python_that_draws() as python:
        (only,) = await google_genai.answer_calls(python, content, images="inside")
    inside = only["parts"][0]["function_response"]["parts"]
    assert inside == [{"inline_data": {"mime_type": "image/png", "data": PNG}}]


async def test_the_agents_sdk_gets_its_own_output_types() -> None:
    """Text and image outputs."""
    from agents import ToolOutputImage, ToolOutputText
    from agents.tool_context import ToolContext

    context: ToolContext[Any] = ToolContext(
        context=None, tool_name="execute_python", tool_call_id="c", tool_arguments="{}"
    )
    async with python_that_draws() as python:
        output = await openai_agents.tool(python).on_invoke_tool(context, '{"code": "plot(1)"}')
    assert output == [ToolOutputText(text=RAN), ToolOutputImage(image_url=DATA_URL)]


async def test_langchain_gets_content_blocks_and_the_whole_answer_as_artifact() -> None:
    """The artifact is plain JSON, as checkpoints need it."""
    call = {"name": "execute_python", "args": {"code": "plot(1)"}, "id": "c", "type": "tool_call"}
    async with python_that_draws() as python:
        message = await langchain.tool(python).ainvoke(call)
        text_only = await langchain.tool(python, shows_images=False).ainvoke(call)
        malformed = await langchain.tool(python).ainvoke({**call, "args": {"source": "1"}})
    assert message.content == [
        {"type": "text", "text": RAN},
        {"type": "image", "base64": PNG_BASE64, "mime_type": "image/png"},
    ]
    assert json.loads(json.dumps(message.artifact))["artifacts"][0]["path"] == "table.csv"
    assert text_only.content == RAN
    assert "unknown argument 'source'" in malformed.content
    assert malformed.artifact is None


async def test_pydantic_ai_gets_binary_content_and_the_whole_answer_as_metadata() -> None:
    """The text stays plain text."""
    from pydantic_ai import BinaryContent

    async with python_that_draws() as python:
        returned = await pydantic_ai.tool(python).function(code="plot(1)")  # type: ignore[call-arg]
    assert returned.return_value == RAN
    assert returned.content == [IMAGES_NOTE, BinaryContent(PNG, media_type="image/png")]
    assert returned.metadata["status"] == "ok"


async def test_the_plain_answer_is_json() -> None:
    """Text and pictures for the model, files with links for the person."""
    async with python_that_draws() as python:
        answer = await plain.answer_call(python, {"code": "plot(1)"})
        refused = await plain.answer_call(python, "no JSON")
    assert json.loads(json.dumps(answer)) == answer
    assert answer["text"] == RAN
    assert answer["images"] == [{"media_type": "image/png", "data": PNG_BASE64}]
    (file,) = answer["files"]
    assert (file["name"], file["size"]) == ("table.csv", 4)
    assert file["url"].startswith("http://service.test/v1/artifacts/")
    assert (refused["files"], refused["result"]) == ([], None)


async def test_calls_of_other_tools_are_left_to_their_owner() -> None:
    """Named ones; a name that nobody knows is answered, or the endpoint would refuse the rest."""
    calls = [chat_call("search", "x"), chat_call("browser", "x", 2)]
    blocks = [
        {"type": "tool_use", "id": str(number), "name": call["function"]["name"], "input": {}}
        for number, call in enumerate(calls)
    ]
    output = [
        {"type": "function_call", "call_id": block["id"], "name": block["name"], "arguments": "{}"}
        for block in blocks
    ]
    parts = [{"function_call": {"name": block["name"], "args": {}}} for block in blocks]
    async with python_that_draws() as python:
        chat = await openai_chat.answer_calls(python, {"tool_calls": calls}, {"search"})
        responses = await openai_responses.answer_calls(python, output, {"search"})
        anthropic = await anthropic_messages.answer_calls(python, {"content": blocks}, {"search"})
        google = await google_genai.answer_calls(python, {"parts": parts}, {"search"})
    for answers in (chat, responses, anthropic, google):
        assert str(answers).count("There is no tool named 'browser'") == 1
        assert "search" not in str(answers)


async def test_a_reply_without_calls_needs_no_answer() -> None:
    """An empty list, which ends the loop of whoever appends it."""
    async with python_that_draws() as python:
        assert await openai_chat.answer_calls(python, {"content": "done"}) == []
        message = {"type": "message", "role": "assistant", "content": []}
        assert await openai_responses.answer_calls(python, [message]) == []
        done = {"content": [{"type": "text", "text": "done"}]}
        assert await anthropic_messages.answer_calls(python, done) == []
        assert await google_genai.answer_calls(python, {"parts": [{"text": "done"}]}) == []
        assert await google_genai.answer_calls(python, {}) == []
