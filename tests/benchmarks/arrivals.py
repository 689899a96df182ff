"""Busy hours: callers that come at random times, whatever the service is doing; each opens, draws a chart, closes."""

import asyncio
import random

from tests.benchmarks.bench import Bench, Stopwatch
from tests.benchmarks.client import Answer
from tests.benchmarks.samples import Series, require
from tests.benchmarks.workloads import FIRST_CHART, has_chart

RATES = (0.5, 1.0, 1.5, 2.0)
SEED = 11
SETTLE_S = 5.0
REFUSED = 503


def figure(rate: float) -> str:
    """The name of the figure for callers at this rate (per second)."""
    return f"arrivals_{rate:g}"


async def rows(bench: Bench) -> None:
    """One row for each rate, on a service with the pool that a fresh install has."""
    for rate in RATES:
        async with bench.target.api() as api:
            await bench.target.await_full_pool(api)
        await _arrive(bench, rate)
        await asyncio.sleep(SETTLE_S)


async def _arrive(bench: Bench, rate: float) -> None:
    """Poisson arrivals for the run's time; the same times in every run."""
    series = bench.results[figure(rate)]
    pauses = random.Random(SEED)
    left_s = bench.counts.arrivals_s
    refused = 0

    async def one() -> None:
        nonlocal refused
        with bench.results.failures_of(figure(rate)):
            refused += await _caller(bench, series)

    async with asyncio.TaskGroup() as callers:
        while (pause_s := pauses.expovariate(rate)) < left_s:
            left_s -= pause_s
            await asyncio.sleep(pause_s)
            callers.create_task(one())
    series.notes.append(f"{refused} refused at once, of {refused + len(series.samples)}")


async def _caller(bench: Bench, series: Series) -> bool:
    """From asking for a session to holding the chart; true when the service refused at once."""
    watch = Stopwatch()
    async with bench.target.api() as api:
        opened = await api.connection.ask("POST", "/v1/sessions", {})
        if opened.status == REFUSED:
            require(watch.ms() < 1000, f"refused after {watch.ms():.0f} ms")
            return True
        session_id = str(opened.json(201)["id"])
        try:
            answer = await api.execute(session_id, FIRST_CHART)
            total_ms = watch.ms()
            _check(answer)
        finally:
            await api.close_session(session_id)
    series.samples.append(total_ms)
    return False


def _check(answer: Answer) -> None:
    execution = answer.json(200)
    require(execution["status"] == "ok", f"status {execution['status']}")
    require(has_chart(execution["outputs"]), "no chart")
