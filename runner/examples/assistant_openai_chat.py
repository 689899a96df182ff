"""An assistant on OpenAI chat completions, or any endpoint that speaks that protocol.

The environment says where everything is: OPENAI_BASE_URL, OPENAI_API_KEY, RUNNER_MODEL,
SANDBOX_URL and SANDBOX_API_KEY.
"""

import asyncio
import os
from pathlib import Path
from typing import Any

from openai import AsyncOpenAI

from runner.adapters.openai_chat import answer_calls, definition
from runner.dispatch import PythonTool

MODEL = os.environ.get("RUNNER_MODEL", "gpt-4.1")
TABLE = Path(__file__).parents[1] / "data" / "seattle-weather.csv"
QUESTIONS = (
    "Draw temperature and rain in seattle-weather.csv, and save the monthly means as a CSV.",
    "How much rain was between the wettest and the driest year?",
)


async def main() -> None:
    messages: list[Any] = []
    async with AsyncOpenAI() as client, PythonTool(files=[TABLE]) as python:
        for question in QUESTIONS:
            messages.append({"role": "user", "content": question})
            results: list[Any] = [None]
            while results:
                reply = await client.chat.completions.create(
                    model=MODEL, messages=messages, tools=[definition()]
                )
                message = reply.choices[0].message
                results = await answer_calls(python, message)
                messages += [message, *results]
            print(python.linked(message.content or ""))
        for path in await python.results.save(Path("results")):
            print(path)


if __name__ == "__main__":
    asyncio.run(main())
