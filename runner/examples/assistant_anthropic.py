"""An assistant on Anthropic messages.

The environment says where everything is: ANTHROPIC_BASE_URL, ANTHROPIC_API_KEY, RUNNER_MODEL,
SANDBOX_URL and SANDBOX_API_KEY.
"""

import asyncio
import os
from pathlib import Path
from typing import Any

from anthropic import AsyncAnthropic

from runner.adapters.anthropic_messages import answer_calls, definition
from runner.dispatch import PythonTool

MODEL = os.environ.get("RUNNER_MODEL", "claude-sonnet-4-5")
TABLE = Path(__file__).parents[1] / "data" / "seattle-weather.csv"
QUESTIONS = (
    "Draw temperature and rain in seattle-weather.csv, and save the monthly means as a CSV.",
    "How much rain was between the wettest and the driest year?",
)


async def main() -> None:
    messages: list[Any] = []
    async with AsyncAnthropic() as client, PythonTool(files=[TABLE]) as python:
        for question in QUESTIONS:
            messages.append({"role": "user", "content": question})
            results: list[Any] = [None]
            while results:
                reply = await client.messages.create(
                    model=MODEL, messages=messages, tools=[definition()], max_tokens=4096
                )
                results = await answer_calls(python, reply)
                messages += [{"role": "assistant", "content": reply.content}, *results]
            text = "".join(block.text for block in reply.content if block.type == "text")
            print(python.linked(text))
        for path in await python.results.save(Path("results")):
            print(path)


if __name__ == "__main__":
    asyncio.run(main())
