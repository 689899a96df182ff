"""pydantic-ai.

    async with PythonTool(files=["sales.csv"]) as python:
        agent = Agent(model, tools=[tool(python)])
        result = await agent.run("Draw the sales by month.")
        print(python.linked(result.output))

Pictures come behind the result, where every model of pydantic-ai takes them: beside its text some
would get that text as escaped JSON. The metadata of the tool return is the service's whole answer,
as plain JSON.
"""

from typing import TYPE_CHECKING, Any

from runner.dispatch import PythonTool
from runner.shape import IMAGES_NOTE
from runner.tool import NAME, PARAMETERS, description
from sandbox_service.domain.extras import needing

if TYPE_CHECKING:
    from pydantic_ai import Tool, ToolReturn


def tool(python: PythonTool) -> "Tool[Any]":
    """The tool for an `Agent`. Raises MissingExtra."""
    with needing("pydantic-ai"):
        from pydantic_ai import BinaryContent, Tool, ToolReturn

    async def execute_python(**arguments: Any) -> "ToolReturn[Any]":
        finished = await python.run(arguments)
        images = [
            BinaryContent(image.content, media_type=image.media_type)
            for image in finished.shaped.images
        ]
        return ToolReturn(
            finished.shaped.text,
            content=[IMAGES_NOTE, *images] if images else None,
            metadata=dict(finished.result.raw) if finished.result else None,
        )

    return Tool.from_schema(execute_python, NAME, description(), PARAMETERS, sequential=True)
