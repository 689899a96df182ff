"""OpenAI chat completions, and every endpoint that speaks the same protocol.

async with PythonTool(files=["sales.csv"]) as python:
    reply = await client.chat.completions.create(messages=messages, tools=[definition()], ...)
    messages += [reply.choices[0].message, *await answer_calls(python, reply.choices[0].message)]
"""

from collections.abc import Collection
from typing import TYPE_CHECKING, Any, cast

from runner.adapters.reading import plain_json
from runner.dispatch import PythonTool
from runner.shape import image_message
from runner.tool import chat_tool
from sandbox_service.client import Image

if TYPE_CHECKING:
    from openai.types.chat import ChatCompletionFunctionToolParam


def definition() -> "ChatCompletionFunctionToolParam":
    """The tool for a chat completions request."""
    return cast("ChatCompletionFunctionToolParam", chat_tool())


async def answer_calls(
    python: PythonTool, message: Any, own_tools: Collection[str] = ()
) -> list[Any]:
    """Carry out the calls of an assistant's message; returns the messages to append, [] if none.

    Pictures come in a user message after the results: endpoints take them nowhere else. Calls of
    `own_tools` are left to you: append your answers to them first.
    """
    answers: list[dict[str, Any]] = []
    images: list[Image] = []
    for call in plain_json(message).get("tool_calls") or ():
        function = call["function"]
        if function["name"] in own_tools:
            continue
        shaped = (await python.run(function["arguments"], function["name"])).shaped
        answers.append({"role": "tool", "tool_call_id": call["id"], "content": shaped.text})
        images.extend(shaped.images)
    pictures = image_message(images)
    return [*answers, pictures] if pictures else answers
