"""Several files: monthly CSVs and a table of rooms in, one Excel workbook out; and what it cost."""

import asyncio
from pathlib import Path

from runner.dispatch import PythonTool
from runner.events import TurnFinished
from runner.examples.stage import DATA, stage
from runner.limits import Price, TurnLimits
from runner.loop import Assistant
from runner.terminal import standard_terminal

QUESTION = "Put the meters-*.csv files together with rooms.csv. Which room needs most? As Excel."
PRICE = Price(input=2.0, output=8.0)
"""Of your model, per million tokens."""


async def main() -> None:
    terminal = standard_terminal()
    files = [*sorted(DATA.glob("meters-*.csv")), DATA / "rooms.csv"]
    limits = TurnLimits(cost=0.10, price=PRICE)
    async with stage("several-files") as on, PythonTool(on.client, files=files) as python:
        async for event in Assistant(on.model, python, limits).ask(QUESTION):
            terminal.show(event)
            if isinstance(event, TurnFinished):
                used = event.used
                print(f"cost {used.cost:.6f}, sandbox {used.sandbox_s:.2f} s")
        for path in await python.results.save(Path("results")):
            print(path)


if __name__ == "__main__":
    asyncio.run(main())
