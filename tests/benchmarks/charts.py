"""Time to first chart: from asking for a session to holding the chart and the table's link."""

import asyncio

from tests.benchmarks.bench import Bench, Stopwatch
from tests.benchmarks.client import Answer, Api
from tests.benchmarks.samples import require
from tests.benchmarks.workloads import FIRST_CHART, TABLE, TABLE_NAME, has_chart


async def pool_hits(bench: Bench) -> None:
    """From a full pool, one at a time; the pool is full and quiet again before each."""
    async with bench.target.api() as api:
        await _first_chart(api)  # what a fresh service does once
        for _ in range(bench.counts.hits):
            await bench.target.await_full_pool(api)
            hits = await bench.target.pool_hits(api)
            with bench.results.failures_of("open_hit", "ttfc_hit"):
                opened_ms, total_ms = await _first_chart(api)
                require(await bench.target.pool_hits(api) == hits + 1, "not a pool hit")
                bench.results["open_hit"].samples.append(opened_ms)
                bench.results["ttfc_hit"].samples.append(total_ms)


async def cold(bench: Bench) -> None:
    """From a service without a pool, one at a time."""
    async with bench.target.api() as api:
        for _ in range(bench.counts.cold):
            with bench.results.failures_of("open_cold", "ttfc_cold"):
                opened_ms, total_ms = await _first_chart(api)
                bench.results["open_cold"].samples.append(opened_ms)
                bench.results["ttfc_cold"].samples.append(total_ms)


async def burst(bench: Bench) -> None:
    """As many at once as the pool holds: the time until all have their chart."""
    for _ in range(bench.counts.bursts):
        async with bench.target.api() as api:
            await bench.target.await_full_pool(api)
            hits = await bench.target.pool_hits(api)
        with bench.results.failures_of("burst"):
            wall_ms, answers = await _burst(bench)
            async with bench.target.api() as api:
                for answer in answers:
                    await _check(api, answer)
                    await api.close_session(answer.json(200)["session_id"])
                expected = hits + bench.target.pool_size
                require(await bench.target.pool_hits(api) == expected, "not all were pool hits")
            bench.results["burst"].samples.append(wall_ms)


async def _burst(bench: Bench) -> tuple[float, list[Answer]]:
    """Milliseconds from the first request to the last answer, connecting included."""
    watch = Stopwatch()
    calls = [_chart_on_own_connection(bench) for _ in range(bench.target.pool_size)]
    answers = await asyncio.gather(*calls)
    return watch.ms(), answers


async def _chart_on_own_connection(bench: Bench) -> Answer:
    async with bench.target.api() as api:
        session_id = await api.open_session()
        return await api.execute(session_id, FIRST_CHART)


async def _first_chart(api: Api) -> tuple[float, float]:
    """Milliseconds until the session was open, and until the chart was there. Raises WrongAnswer."""
    watch = Stopwatch()
    session_id = await api.open_session()
    opened_ms = watch.ms()
    answer = await api.execute(session_id, FIRST_CHART)
    total_ms = watch.ms()
    await _check(api, answer)
    await api.close_session(session_id)
    return opened_ms, total_ms


async def _check(api: Api, answer: Answer) -> None:
    """The chart is among the outputs, the table among the artifacts, and its link works."""
    execution = answer.json(200)
    require(execution["status"] == "ok", f"status {execution['status']}")
    require(has_chart(execution["outputs"]), "no chart")
    tables = [a for a in execution["artifacts"] if a["path"] == TABLE_NAME]
    require(len(tables) == 1, "no table")
    path = "/v1/" + tables[0]["url"].partition("/v1/")[2]
    content = await api.connection.ask("GET", path)
    require(content.body == TABLE, "the table's link does not give the table")
