"""Analyse a spreadsheet: an Excel workbook in, an answer and a chart out."""

import asyncio
from pathlib import Path

from runner.dispatch import PythonTool
from runner.examples.stage import DATA, stage
from runner.loop import Assistant
from runner.terminal import standard_terminal

QUESTION = "Which region in sales.xlsx misses its target, and by how much? Draw it as a PNG."


async def main() -> None:
    terminal = standard_terminal()
    async with (
        stage("analyse-spreadsheet") as on,
        PythonTool(on.client, files=[DATA / "sales.xlsx"]) as python,
    ):
        async for event in Assistant(on.model, python).ask(QUESTION):
            terminal.show(event)
        for path in await python.results.save(Path("results")):
            print(path)


if __name__ == "__main__":
    asyncio.run(main())
