"""The model mends its own error: it sees the traceback, and calls again."""

import asyncio

from runner.dispatch import PythonTool
from runner.events import CallFinished, CodeStarted, TurnFinished
from runner.examples.stage import stage
from runner.loop import Assistant

QUESTION = "Add up the numbers from 0 to 100."


async def main() -> None:
    async with stage("fix-own-error") as on, PythonTool(on.client) as python:
        async for event in Assistant(on.model, python).ask(QUESTION):
            match event:
                case CodeStarted(code=code):
                    print(f"runs:\n{code}")
                case CallFinished(result=result) if result is not None:
                    error = f", {result.error.name}: {result.error.value}" if result.error else ""
                    print(f"ended: {result.status}{error}\n")
                case TurnFinished(text=text, steps=steps):
                    print(f"{text} ({steps} steps)")


if __name__ == "__main__":
    asyncio.run(main())
