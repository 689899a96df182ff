"""Code that callers of a broken service run, and what it must print."""

from tests.faults.history import Json, text_of


def counting(lines: int, pause_s: float) -> str:
    """Prints numbered lines, slowly."""
    return (
        "import time\n"
        f"for number in range({lines}):\n"
        "    print('line', number, flush=True)\n"
        f"    time.sleep({pause_s})\n"
    )


def lines_of(execution: Json) -> list[str]:
    """The numbered lines in an execution's output."""
    return [line for line in text_of(execution).splitlines() if line.startswith("line ")]


def expected_lines(lines: int) -> list[str]:
    return [f"line {number}" for number in range(lines)]
