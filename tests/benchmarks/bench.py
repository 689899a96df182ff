"""What every group of figures is given, and how many samples it takes."""

import time
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks.samples import Results
from tests.benchmarks.service import Target


@dataclass(frozen=True, slots=True)
class Counts:
    """Samples per figure."""

    hits: int = 40
    bursts: int = 3
    cold: int = 10
    print_rounds: int = 5
    prints: int = 80
    nagled: int = 8
    restarts: int = 30
    throughput_s: float = 8.0
    ticks: int = 200
    transfers: int = 5
    gateway_charts: int = 8
    naive: int = 8
    arrivals_s: float = 30.0


QUICK = Counts(
    hits=8,
    bursts=1,
    cold=3,
    print_rounds=2,
    prints=30,
    nagled=3,
    restarts=6,
    throughput_s=3.0,
    ticks=40,
    transfers=2,
    gateway_charts=2,
    naive=2,
    arrivals_s=15.0,
)


@dataclass(frozen=True, slots=True)
class Bench:
    """One run. `scratch` is a directory for what the run needs and leaves no trace of."""

    results: Results
    counts: Counts
    target: Target
    image: str
    scratch: Path
    has_peers: bool = True


class Stopwatch:
    """Milliseconds since it was made."""

    def __init__(self) -> None:
        self._start = time.perf_counter()

    def ms(self) -> float:
        return (time.perf_counter() - self._start) * 1000
