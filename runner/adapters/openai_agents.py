"""OpenAI Agents SDK.

    async with PythonTool(files=["sales.csv"]) as python:
        agent = Agent(name="Analyst", tools=[tool(python)])
        result = await Runner.run(agent, "Draw the sales by month.")
        print(python.linked(result.final_output))

Over chat completions the SDK passes on the text of a result alone, and no picture: use Responses,
which is its default.
"""

from typing import TYPE_CHECKING, Any

from runner.dispatch import PythonTool
from runner.shape import data_url
from runner.tool import NAME, PARAMETERS, description
from sandbox_service.domain.extras import needing

if TYPE_CHECKING:
    from agents import FunctionTool


def tool(python: PythonTool) -> "FunctionTool":
    """The tool for an `Agent`. Raises MissingExtra.

    A failure of the service ends the run with its ClientError.
    """
    with needing("openai-agents"):
        from agents import FunctionTool, ToolOutputImage, ToolOutputText

    async def execute_python(context: Any, arguments: str) -> list[Any]:
        shaped = (await python.run(arguments)).shaped
        images = [ToolOutputImage(image_url=data_url(image)) for image in shaped.images]
        return [ToolOutputText(text=shaped.text), *images]

    return FunctionTool(NAME, description(), PARAMETERS, execute_python)
