"""Anthropic messages: by hand, or for the client's own tool runner.

async with PythonTool(files=["sales.csv"]) as python:
    runner = client.beta.messages.tool_runner(messages=messages, tools=[tool(python)], ...)
    print((await runner.until_done()).content[-1].text)
"""

import base64
from collections.abc import Collection
from typing import TYPE_CHECKING, Any, cast

from runner.adapters.reading import plain_items, plain_json
from runner.dispatch import PythonTool
from runner.shape import Shaped
from runner.tool import NAME, PARAMETERS, description
from sandbox_service.client import Image
from sandbox_service.domain.extras import needing

if TYPE_CHECKING:
    from anthropic.lib.tools import BetaAsyncFunctionTool
    from anthropic.types import ToolParam

Json = dict[str, Any]


def definition() -> "ToolParam":
    """The tool for a messages request."""
    named = {"name": NAME, "description": description()}
    return cast("ToolParam", named | {"input_schema": PARAMETERS})


async def answer_calls(
    python: PythonTool, message: Any, own_tools: Collection[str] = ()
) -> list[Any]:
    """Carry out the calls of an assistant's message; returns one message to append, [] if none.

    Calls of `own_tools` are left to you: add your results to the content of that message.
    """
    results = [
        await _result(python, block)
        for block in plain_items(plain_json(message)["content"])
        if block["type"] == "tool_use" and block["name"] not in own_tools
    ]
    return [{"role": "user", "content": results}] if results else []


def tool(python: PythonTool) -> "BetaAsyncFunctionTool[Any]":
    """The tool for `client.beta.messages.tool_runner`. Raises MissingExtra."""
    with needing("anthropic"):
        from anthropic import beta_async_tool

    async def execute_python(code: str) -> list[Any]:
        return _content((await python.run({"code": code})).shaped)

    return beta_async_tool(
        execute_python, name=NAME, description=description(), input_schema=PARAMETERS
    )


async def _result(python: PythonTool, call: Json) -> Json:
    finished = await python.run(call["input"], call["name"])
    result = {
        "type": "tool_result",
        "tool_use_id": call["id"],
        "content": _content(finished.shaped),
    }
    return result if finished.result else {**result, "is_error": True}


def _content(shaped: Shaped) -> list[Json]:
    return [{"type": "text", "text": shaped.text}, *map(_image, shaped.images)]


def _image(image: Image) -> Json:
    data = base64.b64encode(image.content).decode()
    source = {"type": "base64", "media_type": image.media_type, "data": data}
    return {"type": "image", "source": source}
