"""OpenAI Responses.

async with PythonTool(files=["sales.csv"]) as python:
    reply = await client.responses.create(input=items, tools=[definition()], ...)
    items += [*reply.output, *await answer_calls(python, reply.output)]
"""

from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING, Any, cast

from runner.adapters.reading import plain_items
from runner.dispatch import PythonTool
from runner.shape import Shaped, data_url
from runner.tool import definition as tool_definition

if TYPE_CHECKING:
    from openai.types.responses import FunctionToolParam

Json = dict[str, Any]


def definition() -> "FunctionToolParam":
    """The tool for a Responses request."""
    return cast("FunctionToolParam", {"type": "function", **tool_definition(), "strict": True})


async def answer_calls(
    python: PythonTool, output: Iterable[Any], own_tools: Collection[str] = ()
) -> list[Any]:
    """Carry out the calls among a response's output items; returns the items to append.

    Calls of `own_tools` are left to you.
    """
    return [
        await _answer(python, item)
        for item in plain_items(output)
        if item["type"] == "function_call" and item["name"] not in own_tools
    ]


async def _answer(python: PythonTool, call: Json) -> Json:
    shaped = (await python.run(call["arguments"], call["name"])).shaped
    return {
        "type": "function_call_output",
        "call_id": call["call_id"],
        "output": _content(shaped) if shaped.images else shaped.text,
    }


def _content(shaped: Shaped) -> list[Json]:
    text = {"type": "input_text", "text": shaped.text}
    images = [
        {"type": "input_image", "image_url": data_url(image), "detail": "auto"}
        for image in shaped.images
    ]
    return [text, *images]
