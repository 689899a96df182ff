"""The naive way: `docker run python -c` of the whole script, every time."""

import asyncio
import subprocess
import tempfile
from pathlib import Path

from tests.benchmarks.bench import Bench, Stopwatch
from tests.benchmarks.containers import docker_run
from tests.benchmarks.samples import require
from tests.benchmarks.workloads import FIRST_CHART_AS_SCRIPT, PNG_START, PRINT, TABLE, TABLE_NAME

LIMIT_S = 60


async def docker_runs(bench: Bench) -> None:
    """From starting the command to its end, with the chart and the table in a mounted directory."""
    for _ in range(bench.counts.naive):
        with bench.results.failures_of("ttfc_naive"):
            elapsed_ms = await asyncio.to_thread(_first_chart, bench)
            bench.results["ttfc_naive"].samples.append(elapsed_ms)
        with bench.results.failures_of("print_naive"):
            elapsed_ms = await asyncio.to_thread(_print, bench)
            bench.results["print_naive"].samples.append(elapsed_ms)


def _first_chart(bench: Bench) -> float:
    with tempfile.TemporaryDirectory(dir=bench.scratch) as name:
        directory = Path(name)
        directory.chmod(0o777)
        options = ["--network=none", f"--volume={directory}:/mnt/data"]
        elapsed_ms, _ = _timed(docker_run(bench.image, options, ["-c", FIRST_CHART_AS_SCRIPT]))
        chart = (directory / "chart.png").read_bytes()
        require(chart.startswith(PNG_START), "no chart")
        require((directory / TABLE_NAME).read_bytes() == TABLE, "no table")
    return elapsed_ms


def _print(bench: Bench) -> float:
    elapsed_ms, out = _timed(docker_run(bench.image, ["--network=none"], ["-c", PRINT]))
    require(out == b"1\n", f"printed {out!r}")
    return elapsed_ms


def _timed(command: list[str]) -> tuple[float, bytes]:
    watch = Stopwatch()
    ended = subprocess.run(command, capture_output=True, timeout=LIMIT_S, check=False)
    elapsed_ms = watch.ms()
    require(ended.returncode == 0, f"exit {ended.returncode}: {ended.stderr[-200:]!r}")
    return elapsed_ms, ended.stdout
