"""`python -m runner.demo`: the main job on a real data set, from question to chart and table."""

import asyncio
import csv
import sys
from collections.abc import Sequence
from pathlib import Path

from runner.answer import Question, answer, model_or_script
from runner.config import model_config
from runner.local_service import ServiceDidNotStart, running_service
from runner.model import ModelFailed
from runner.terminal import Terminal, standard_terminal
from sandbox_service.client import ClientError
from sandbox_service.client.text import size_text

WEATHER = Path(__file__).parent / "data" / "seattle-weather.csv"
QUESTION = """\
How do temperature and rain in Seattle vary over the year and between the years? Draw the mean \
temperature by month for every year and the precipitation by year, save the chart as a PNG, and \
save the monthly mean temperatures as a CSV."""
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


class DemoFailed(Exception):
    """The demo did not give what it promises."""


def main() -> int:
    """Run the demo; returns the process's exit status."""
    terminal = standard_terminal()
    try:
        asyncio.run(_run(terminal))
    except KeyboardInterrupt:
        return 130
    except (DemoFailed, ServiceDidNotStart, ModelFailed, ClientError, OSError) as error:
        terminal.line("")
        print(f"demo: {error}", file=sys.stderr)
        return 1
    return 0


async def _run(terminal: Terminal) -> None:
    question, config = Question(QUESTION, (WEATHER,), Path("results")), model_config()
    async with (
        running_service(terminal.line) as client,
        model_or_script(config, "seattle-weather") as model,
    ):
        if config is None:
            terminal.line("No OPENAI_API_KEY: a scripted model writes the code; the rest is real.")
        terminal.line(f"\nQuestion: {QUESTION}\n")
        result = await answer(question, client, model, terminal)
    terminal.line("")
    if result.turn.reason != "answered":
        raise DemoFailed("the assistant was stopped at a limit")
    for line in checked(result.saved):
        terminal.line(line)


def checked(saved: Sequence[Path]) -> list[str]:
    """A line for each PNG and CSV, all opened. Raises DemoFailed when one is missing or empty."""
    pictures = [path for path in saved if path.suffix == ".png"]
    tables = [path for path in saved if path.suffix == ".csv"]
    if not pictures or not tables:
        raise DemoFailed("the assistant made no chart or no table")
    return [*map(_picture_line, pictures), *map(_table_line, tables)]


def _picture_line(path: Path) -> str:
    content = path.read_bytes()
    if not content.startswith(PNG_SIGNATURE):
        raise DemoFailed(f"{path} is not a PNG")
    width, height = (int.from_bytes(content[at : at + 4]) for at in (16, 20))
    return f"Chart: {path} ({width} x {height} pixels, {size_text(len(content))})"


def _table_line(path: Path) -> str:
    with path.open(newline="") as file:
        rows = list(csv.reader(file))
    if len(rows) < 2:
        raise DemoFailed(f"{path} has no rows")
    return f"Table: {path} ({len(rows) - 1} rows, {len(rows[0])} columns)"


if __name__ == "__main__":
    sys.exit(main())
