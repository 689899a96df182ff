"""LangChain and LangGraph.

    async with PythonTool(files=["sales.csv"]) as python:
        agent = create_agent(model, [tool(python)])
        state = await agent.ainvoke({"messages": [("user", "Draw the sales by month.")]})
        print(python.linked(state["messages"][-1].text))

The artifact of the tool message is the service's whole answer, as plain JSON: every output in
full, and the files with their links.
"""

import base64
from typing import TYPE_CHECKING, Any

from runner.dispatch import PythonTool
from runner.shape import Shaped
from runner.tool import NAME, PARAMETERS, description
from sandbox_service.client import Image
from sandbox_service.domain.extras import needing

if TYPE_CHECKING:
    from langchain_core.tools import StructuredTool


def tool(python: PythonTool, *, shows_images: bool = True) -> "StructuredTool":
    """The tool for an agent, called asynchronously. Raises MissingExtra.

    Turn `shows_images` off for an endpoint that takes no pictures in tool messages, as chat
    completions do not; OpenAI's Responses (`use_responses_api=True`) and Anthropic take them.
    """
    with needing("langchain"):
        from langchain_core.tools import StructuredTool

    async def execute_python(**arguments: Any) -> tuple[str | list[Any], Any]:
        finished = await python.run(arguments)
        content = _content(finished.shaped) if shows_images else finished.shaped.text
        return content, dict(finished.result.raw) if finished.result else None

    return StructuredTool(
        name=NAME,
        description=description(),
        args_schema=PARAMETERS,
        coroutine=execute_python,
        response_format="content_and_artifact",
    )


def _content(shaped: Shaped) -> str | list[Any]:
    if not shaped.images:
        return shaped.text
    return [{"type": "text", "text": shaped.text}, *map(_image, shaped.images)]


def _image(image: Image) -> dict[str, str]:
    data = base64.b64encode(image.content).decode()
    return {"type": "image", "base64": data, "mime_type": image.media_type}
