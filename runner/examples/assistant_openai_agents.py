"""An assistant in the OpenAI Agents SDK.

The environment says where everything is: OPENAI_BASE_URL, OPENAI_API_KEY, RUNNER_MODEL,
SANDBOX_URL and SANDBOX_API_KEY.
"""

import asyncio
import os
from pathlib import Path
from typing import Any

from agents import Agent, Runner, set_tracing_disabled

from runner.adapters.openai_agents import tool
from runner.dispatch import PythonTool

MODEL = os.environ.get("RUNNER_MODEL", "gpt-4.1")
TABLE = Path(__file__).parents[1] / "data" / "seattle-weather.csv"
QUESTIONS = (
    "Draw temperature and rain in seattle-weather.csv, and save the monthly means as a CSV.",
    "How much rain was between the wettest and the driest year?",
)


async def main() -> None:
    set_tracing_disabled(True)  # traces would be sent to OpenAI, whatever the endpoint is
    items: list[Any] = []
    async with PythonTool(files=[TABLE]) as python:
        agent = Agent(name="Analyst", model=MODEL, tools=[tool(python)])
        for question in QUESTIONS:
            result = await Runner.run(agent, [*items, {"role": "user", "content": question}])
            items = list(result.to_input_list())
            print(python.linked(result.final_output))
        for path in await python.results.save(Path("results")):
            print(path)


if __name__ == "__main__":
    asyncio.run(main())
