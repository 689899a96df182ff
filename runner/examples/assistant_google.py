"""An assistant on Google GenAI (Gemini).

The environment says where everything is: GOOGLE_GEMINI_BASE_URL, GEMINI_API_KEY, RUNNER_MODEL,
SANDBOX_URL and SANDBOX_API_KEY.
"""

import asyncio
import os
from pathlib import Path
from typing import Any

from google.genai import Client
from google.genai.types import GenerateContentConfig

from runner.adapters.google_genai import answer_calls, tool
from runner.dispatch import PythonTool

MODEL = os.environ.get("RUNNER_MODEL", "gemini-2.5-flash")
TABLE = Path(__file__).parents[1] / "data" / "seattle-weather.csv"
QUESTIONS = (
    "Draw temperature and rain in seattle-weather.csv, and save the monthly means as a CSV.",
    "How much rain was between the wettest and the driest year?",
)


async def main() -> None:
    contents: list[Any] = []
    config = GenerateContentConfig(tools=[tool()])
    async with Client().aio as client, PythonTool(files=[TABLE]) as python:
        for question in QUESTIONS:
            contents.append({"role": "user", "parts": [{"text": question}]})
            results: list[Any] = [None]
            while results:
                reply = await client.models.generate_content(
                    model=MODEL, contents=contents, config=config
                )
                content = (reply.candidates or [])[0].content
                results = await answer_calls(python, content)
                contents += [content, *results]
            print(python.linked(reply.text or ""))
        for path in await python.results.save(Path("results")):
            print(path)


if __name__ == "__main__":
    asyncio.run(main())
