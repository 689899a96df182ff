"""Runs the benchmarks, prints the table, and writes it with its raw samples and a picture."""

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import docker.errors

from tests.benchmarks import (
    arrivals,
    cells,
    charts,
    machine,
    memory,
    plot,
    report,
    streams,
    transfers,
)
from tests.benchmarks.bench import QUICK, Bench, Counts
from tests.benchmarks.figures import GVISOR
from tests.benchmarks.peers import gateway, naive
from tests.benchmarks.samples import Results
from tests.benchmarks.service import Target
from tests.support.service import ServiceProcess

IMAGE = "sandbox-python:latest"
POOL = 20
AS_INSTALLED = 2  # the pool that the settings ask for, with room to grow
POOL_MAX = {AS_INSTALLED: 8}
OUT = Path("results/bench")
RUNTIMES = {"runc": "", "runsc": GVISOR}


@dataclass(frozen=True, slots=True)
class Group:
    """Figures that are measured together, on a service with a pool of `pool_size`."""

    pool_size: int
    measure: Callable[[Bench], Awaitable[None]]
    is_ours: bool = True


GROUPS = {
    "cold": Group(0, charts.cold),
    "print": Group(0, cells.prints),
    "restart": Group(0, cells.restarts),
    "throughput": Group(0, cells.throughput),
    "flush": Group(0, streams.flush_to_reader),
    "files": Group(0, transfers.large_file),
    "memory": Group(0, memory.idle_sessions),
    "gateway": Group(0, gateway.first_charts, is_ours=False),
    "naive": Group(0, naive.docker_runs, is_ours=False),
    "warm": Group(POOL, charts.pool_hits),
    "burst": Group(POOL, charts.burst),
    "arrivals": Group(AS_INSTALLED, arrivals.rows),
}


class Runner:
    """One run over the chosen groups; a group that breaks is told of, and the rest goes on."""

    def __init__(self, chosen: list[str]) -> None:
        self.results = Results()
        self.troubles: list[str] = []
        self._chosen = chosen

    def run(self, template: dict[str, str], counts: Counts, suffix: str = "") -> None:
        """All chosen groups, on services with this template."""
        self._counts = counts
        for pool_size in (0, POOL, AS_INSTALLED):
            names = [name for name in self._chosen if GROUPS[name].pool_size == pool_size]
            if suffix:
                names = [name for name in names if GROUPS[name].is_ours]
            if names:
                self._run_on_service(names, pool_size, template, suffix)

    def _run_on_service(
        self, names: list[str], pool_size: int, template: dict[str, str], suffix: str
    ) -> None:
        with tempfile.TemporaryDirectory(prefix="bench-") as scratch, self._told("the service"):
            process = ServiceProcess(
                Path(scratch),
                SANDBOX_POOL_SIZE=str(pool_size),
                SANDBOX_POOL_MAX=str(POOL_MAX.get(pool_size, pool_size)),
                SANDBOX_SWEEP_INTERVAL_S="1",
                SANDBOX_OPEN_WAIT_S="10",
                SANDBOX_TEMPLATE=json.dumps(template),
            )
            with process, self._logged(process):
                target = Target(process, pool_size)
                results = self.results.named_with(suffix)
                bench = Bench(results, self._counts, target, IMAGE, Path(scratch), not suffix)
                for name in names:
                    self._measure(name, bench)

    def _measure(self, name: str, bench: Bench) -> None:
        started = time.perf_counter()
        print(f"{name} ...", end=" ", flush=True, file=sys.stderr)
        with self._told(name):
            asyncio.run(GROUPS[name].measure(bench))
        print(f"{time.perf_counter() - started:.0f} s", file=sys.stderr)

    @contextmanager
    def _logged(self, process: ServiceProcess) -> Iterator[None]:
        """Keeps the service's warnings: a figure may have been measured while something failed."""
        try:
            yield
        finally:
            lines = process.log_path.read_text().splitlines()
            wrong = [line for line in lines if " WARNING " in line or " ERROR " in line]
            self.troubles += [f"service: {line}"[:300] for line in wrong[:5]]

    @contextmanager
    def _told(self, what: str) -> Iterator[None]:
        """Notes what broke, so that figures already measured are not lost with it."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - whatever it is, it is in the report
            self.troubles.append(f"{what} broke: {type(error).__name__}: {error}"[:300])


def main() -> int:
    """Returns 1 when a sample failed or a group broke off; a missed goal is not a failure."""
    options = _options()
    try:
        here = machine.describe(IMAGE)
    except docker.errors.DockerException as error:
        print(f"benchmarks need a Docker engine and the image {IMAGE}: {error}", file=sys.stderr)
        return 2
    runtimes = [one for one in options.runtime or RUNTIMES if one in here.runtimes]
    if not runtimes:
        print(f"the engine has no runtime {' or '.join(options.runtime)}", file=sys.stderr)
        return 2
    started = time.perf_counter()
    runner = Runner(options.only or list(GROUPS))
    for runtime in runtimes:
        # gVisor's table is for its one goal; fewer samples keep the whole run below ten minutes.
        is_quick = options.quick or bool(RUNTIMES[runtime])
        template = {"image": IMAGE, "runtime": runtime}
        runner.run(template, QUICK if is_quick else Counts(), RUNTIMES[runtime])
        seconds = time.perf_counter() - started
        run = report.Run(_command(options), here, runner.results, seconds, runner.troubles)
        _write(run, options.out)
    print(report.markdown(run))
    print(f"Written to {options.out}: RESULTS.md, samples.json, results.png")
    return int(runner.results.has_failures or bool(runner.troubles))


def _write(run: report.Run, directory: Path) -> None:
    report.write(run, directory)
    plot.draw(run.results, directory / "results.png")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer samples")
    parser.add_argument("--only", action="append", choices=GROUPS, help="only this group; repeats")
    parser.add_argument(
        "--runtime", action="append", choices=RUNTIMES, help="only on this one; repeats"
    )
    parser.add_argument("--out", type=Path, default=OUT, help="where the results go")
    return parser.parse_args()


def _command(options: argparse.Namespace) -> str:
    """What to type for the same table; where it goes does not matter."""
    chosen = [f"--only {name}" for name in options.only or ()]
    chosen += [f"--runtime {name}" for name in options.runtime or ()]
    chosen += ["--quick"] if options.quick else []
    return f'make bench ARGS="{" ".join(chosen)}"' if chosen else "make bench"


if __name__ == "__main__":
    sys.exit(main())
