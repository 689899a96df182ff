"""The table of faults: what was done, what was required, what came of it, and how long it took."""

import os
import platform
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import docker
from docker.errors import DockerException


@dataclass(slots=True)
class Row:
    """One fault. `result` is passed, failed or not run; `seen` is what was measured, or why it did not run."""

    name: str
    fault: str
    required: str
    result: str = "not run"
    seen: str = "not selected"
    seconds: float = 0.0


INTRO = """\
# Faults

Written by `make faults`: every fault is caused on real processes, a real Redis, a real engine. Each one ends with the
invariants checked: at most one live container per session (I1), one unchanging result per execution (I2), code
started at most once (I3), events gap-free or with a gap marker (I4), no container without a record nor record without a
container (I5), no tenant's token in another's answers (I6), quotas that equal reality (I7), what was reported as done
visible on every replica (I8). A fault that was not caused is listed as *not run*, with the reason.
"""


def write_table(path: Path, rows: list[Row]) -> None:
    """Write all rows; those that did not run among them."""
    counts = {name: sum(row.result == name for row in rows) for name in _RESULTS}
    summary = ", ".join(f"{count} {name}" for name, count in counts.items())
    lines = [
        INTRO,
        f"{datetime.now(UTC):%Y-%m-%d}, {commit()}, {machine()}: {summary}.",
        "",
        "| fault | required | result | time | seen |",
        "|---|---|---|---|---|",
        *(_line(row) for row in rows),
        "",
    ]
    path.write_text("\n".join(lines))


def commit() -> str:
    """Which code it was; what is not committed is said."""
    told = subprocess.run(
        ["git", "describe", "--always", "--dirty=, with changes that are not committed"],
        capture_output=True,
        text=True,
        check=False,
    )
    return f"commit {told.stdout.strip() or 'unknown'}"


_RESULTS = ("passed", "failed", "not run")


def _line(row: Row) -> str:
    took = f"{row.seconds:.0f} s" if row.result != "not run" else ""
    result = row.result if row.result == "passed" else f"**{row.result}**"
    cells = (row.fault, row.required, result, took, row.seen)
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def machine() -> str:
    """What it ran on, without names."""
    parts = [f"{os.cpu_count()} cores", f"Linux {platform.release().split('-')[0]}"]
    try:
        client = docker.from_env(timeout=5)
        parts.append(f"Docker {client.version()['Version']}")
        client.close()
    except DockerException:
        parts.append("no Docker engine")
    try:
        said = subprocess.run(["redis-server", "--version"], capture_output=True, text=True)
        parts.append("Redis " + said.stdout.split("v=")[1].split()[0])
    except (OSError, IndexError):
        parts.append("no Redis")
    return ", ".join(parts)
