"""The figures: what each is called, in what unit, its goals, and what it is to be compared with."""

from dataclasses import dataclass
from typing import Literal

from tests.benchmarks.samples import Results, Series

Statistic = Literal["p50", "p95", "p99"]
PERCENT = {"p50": 50.0, "p95": 95.0, "p99": 99.0}


@dataclass(frozen=True, slots=True)
class Goal:
    """A bound on a statistic; with `of` it is a multiple of that figure's p50 in the same run."""

    statistic: Statistic
    bound: float
    is_floor: bool = False
    of: str | None = None
    text: str = ""

    def describe(self, unit: str) -> str:
        return (
            self.text or f"{self.statistic} {'≥' if self.is_floor else '≤'} {self.bound:g} {unit}"
        )

    def is_met(self, series: Series, results: Results) -> bool | None:
        """None when what it is compared with was not measured."""
        if self.of is not None and not results.has(self.of):
            return None
        bound = self.bound * (results[self.of].p50 if self.of else 1.0)
        value = series.percentile(PERCENT[self.statistic])
        return value >= bound if self.is_floor else value <= bound


@dataclass(frozen=True, slots=True)
class Figure:
    """`beside` names the figure of ours that a peer's is shown as a multiple of."""

    name: str
    title: str
    unit: str
    goals: tuple[Goal, ...] = ()
    beside: str | None = None


OURS = (
    Figure(
        "ttfc_hit",
        "Time to first chart, pool hit",
        "ms",
        (
            Goal("p50", 120),
            Goal("p99", 300),
            Goal("p50", 1 / 20, of="ttfc_gateway", text="20 times faster than the gateway"),
        ),
    ),
    Figure("ttfc_cold", "Time to first chart, empty pool", "ms", (Goal("p95", 2000),)),
    Figure("open_hit", "Session open, pool hit", "ms", (Goal("p50", 10),)),
    Figure("open_cold", "Session open and ready, empty pool", "ms", (Goal("p95", 1500),)),
    Figure(
        "print_rest",
        "print(1) on a live session, REST",
        "ms",
        (
            Goal("p50", 6),
            Goal("p99", 20),
            Goal("p50", 1.0, of="print_gateway", text="not slower than the gateway"),
            Goal("p50", 1.8, of="print_raw", text="at most 1.8 times raw ipc"),
        ),
    ),
    Figure("restart", "Kernel restart until the next cell has answered", "ms", (Goal("p50", 150),)),
    Figure("burst", "20 sessions at once, all first charts back", "ms", (Goal("p99", 2000),)),
    *(
        Figure(
            f"arrivals_{rate:g}",
            f"Open, first chart: callers at random, {rate:g}/s",
            "ms",
            (Goal("p99", 300),) if rate <= 1 else (),
        )
        for rate in (0.5, 1.0, 1.5, 2.0)
    ),
    Figure("throughput", "Small cells over 8 live sessions", "cells/s", (Goal("p50", 200, True),)),
    Figure("flush", "Printed line, from flush to stream reader", "ms", (Goal("p99", 20),)),
    Figure("upload", "100 MB file up", "MB/s", (Goal("p50", 200, True),)),
    Figure("download", "100 MB file down", "MB/s", (Goal("p50", 200, True),)),
    Figure("transfer_memory", "Service memory added by those files", "MiB", (Goal("p50", 20),)),
    Figure("memory_1", "Idle session, PSS, 1 alive", "MB", (Goal("p50", 110),)),
    Figure("memory_4", "Idle session, PSS, 4 alive", "MB", (Goal("p50", 110),)),
)

PEERS = (
    Figure("ttfc_gateway", "Kernel Gateway: first chart", "ms", beside="ttfc_hit"),
    Figure("ttfc_naive", "docker run python -c: first chart", "ms", beside="ttfc_hit"),
    Figure("open_gateway", "Kernel Gateway: kernel started and connected", "ms", beside="open_hit"),
    Figure("print_raw", "Raw jupyter_client over ipc: print(1)", "ms", beside="print_rest"),
    Figure("print_gateway", "Kernel Gateway, fair: print(1)", "ms", beside="print_rest"),
    Figure(
        "print_gateway_nagle", "Kernel Gateway, as it comes: print(1)", "ms", beside="print_rest"
    ),
    Figure("print_naive", "docker run python -c: print(1)", "ms", beside="print_rest"),
)

GVISOR_GOALS = {"ttfc_hit": (Goal("p50", 400),)}
GVISOR = "_runsc"


def gvisor_figures() -> tuple[Figure, ...]:
    """The same figures on gVisor, which has one goal of its own."""
    return tuple(
        Figure(f.name + GVISOR, f"{f.title} (runsc)", f.unit, GVISOR_GOALS.get(f.name, ()))
        for f in OURS
    )
