"""Google GenAI (Gemini).

async with PythonTool(files=["sales.csv"]) as python:
    reply = await client.aio.models.generate_content(
        model=model, contents=contents, config={"tools": [tool()]})
    content = reply.candidates[0].content
    contents += [content, *await answer_calls(python, content)]
"""

from collections.abc import Collection
from typing import TYPE_CHECKING, Any, Literal

from runner.adapters.reading import plain_json
from runner.dispatch import PythonTool
from runner.shape import IMAGES_NOTE
from runner.tool import NAME, PARAMETERS, description
from sandbox_service.client import Image
from sandbox_service.domain.extras import needing

if TYPE_CHECKING:
    from google.genai.types import Tool

Json = dict[str, Any]


def definition() -> Json:
    """The function declaration as plain JSON."""
    return {"name": NAME, "description": description(), "parameters_json_schema": PARAMETERS}


def tool() -> "Tool":
    """The function declaration in a tool of the client. Raises MissingExtra."""
    with needing("google"):
        from google.genai.types import FunctionDeclaration, Tool

    return Tool(function_declarations=[FunctionDeclaration(**definition())])


async def answer_calls(
    python: PythonTool,
    content: Any,
    own_tools: Collection[str] = (),
    images: Literal["after", "inside"] = "after",
) -> list[Any]:
    """Carry out the calls of a model's content; returns the contents to append, [] if none.

    Pictures come "after" the function responses, in a content of their own, which every Gemini
    that sees pictures takes; Gemini 3 and later take them "inside" the responses as well. Calls of
    `own_tools` are left to you: add your responses to the parts of the first content.
    """
    responses: list[Json] = []
    shown: list[Image] = []
    for call in _calls(content):
        if call["name"] in own_tools:
            continue
        shaped = (await python.run(call.get("args") or {}, call["name"])).shaped
        inside = shaped.images if images == "inside" else ()
        responses.append(_response(call, shaped.text, inside))
        shown.extend(shaped.images if images == "after" else ())
    contents = [{"role": "user", "parts": responses}] if responses else []
    return [*contents, _pictures(shown)] if shown else contents


def _calls(content: Any) -> list[Json]:
    parts = plain_json(content).get("parts") or ()
    return [part["function_call"] for part in parts if part.get("function_call")]


def _response(call: Json, text: str, images: Collection[Image]) -> Json:
    response: Json = {"name": call["name"], "response": {"output": text}}
    if call.get("id"):
        response["id"] = call["id"]
    if images:
        response["parts"] = [_inline(image) for image in images]
    return {"function_response": response}


def _pictures(images: Collection[Image]) -> Json:
    return {"role": "user", "parts": [{"text": IMAGES_NOTE}, *map(_inline, images)]}


def _inline(image: Image) -> Json:
    return {"inline_data": {"mime_type": image.media_type, "data": image.content}}
