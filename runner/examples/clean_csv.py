"""Clean a CSV and return it: the file as bytes for a program, without any screen."""

import asyncio

from runner.dispatch import PythonTool
from runner.events import FileMade, TurnFinished
from runner.examples.stage import DATA, stage
from runner.limits import TurnLimits
from runner.loop import Assistant

QUESTION = "Clean contacts.csv: one row per person, ISO dates, valid addresses only. Save it."


async def main() -> None:
    limits = TurnLimits(steps=8, time_s=120, tokens=50_000)
    async with (
        stage("clean-csv") as on,
        PythonTool(on.client, files=[DATA / "contacts.csv"]) as python,
    ):
        content = b""
        async for event in Assistant(on.model, python, limits).ask(QUESTION):
            if isinstance(event, FileMade) and event.artifact.path.endswith(".csv"):
                content = await event.artifact.read()
            if isinstance(event, TurnFinished):
                print(python.linked(event.text))
        print(content.decode())


if __name__ == "__main__":
    asyncio.run(main())
