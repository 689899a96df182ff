"""An assistant in pydantic-ai.

The environment says where everything is: OPENAI_BASE_URL, OPENAI_API_KEY, RUNNER_MODEL,
SANDBOX_URL and SANDBOX_API_KEY.
"""

import asyncio
import os
from pathlib import Path
from typing import Any

from pydantic_ai import Agent
from pydantic_ai.models.openai import OpenAIResponsesModel

from runner.adapters.pydantic_ai import tool
from runner.dispatch import PythonTool

MODEL = os.environ.get("RUNNER_MODEL", "gpt-4.1")
TABLE = Path(__file__).parents[1] / "data" / "seattle-weather.csv"
QUESTIONS = (
    "Draw temperature and rain in seattle-weather.csv, and save the monthly means as a CSV.",
    "How much rain was between the wettest and the driest year?",
)


async def main() -> None:
    history: list[Any] = []
    async with PythonTool(files=[TABLE]) as python:
        agent = Agent(OpenAIResponsesModel(MODEL), tools=[tool(python)])
        for question in QUESTIONS:
            result = await agent.run(question, message_history=history)
            history = result.all_messages()
            print(python.linked(result.output))
        for path in await python.results.save(Path("results")):
            print(path)


if __name__ == "__main__":
    asyncio.run(main())
