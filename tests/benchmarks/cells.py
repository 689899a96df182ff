"""Small cells: one after another beside the peers, from a fresh kernel, and many sessions at once."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from functools import partial

from tests.benchmarks.bench import Bench, Stopwatch
from tests.benchmarks.client import Api
from tests.benchmarks.peers.floor import Floor
from tests.benchmarks.peers.gateway import Gateway, GatewayKernel
from tests.benchmarks.samples import require
from tests.benchmarks.service import session
from tests.benchmarks.workloads import PRINT, is_printed_one

LIVE_SESSIONS = 8
FIRST_CELLS = 10

Round = Callable[[], Awaitable[None]]


async def prints(bench: Bench) -> None:
    """In turns, a round of each, so that all of them see the same machine."""
    async with AsyncExitStack() as stack:
        rounds = [await _rest_rounds(bench, stack)]
        if bench.has_peers:
            rounds += await _peer_rounds(bench, stack)
        for _ in range(bench.counts.print_rounds):
            for take_round in rounds:
                await take_round()


async def _rest_rounds(bench: Bench, stack: AsyncExitStack) -> Round:
    api = await stack.enter_async_context(bench.target.api())
    session_id = await stack.enter_async_context(session(api))
    for _ in range(FIRST_CELLS):
        await _print(api, session_id)
    return partial(_rest_round, bench, api, session_id)


async def _peer_rounds(bench: Bench, stack: AsyncExitStack) -> list[Round]:
    floor = await stack.enter_async_context(Floor.start(bench.image))
    gateway = await stack.enter_async_context(Gateway.start(bench.image))
    fair = await stack.enter_async_context(gateway.kernel(is_fair=True))
    nagled = await stack.enter_async_context(gateway.kernel(is_fair=False))
    for kernel in (fair, nagled):
        for _ in range(FIRST_CELLS):
            await kernel.execute(PRINT)
    return [
        partial(_floor_round, bench, floor),
        partial(_gateway_round, bench, fair, "print_gateway", bench.counts.prints),
        partial(_gateway_round, bench, nagled, "print_gateway_nagle", bench.counts.nagled),
    ]


async def _rest_round(bench: Bench, api: Api, session_id: str) -> None:
    for _ in range(bench.counts.prints):
        with bench.results.failures_of("print_rest"):
            bench.results["print_rest"].samples.append(await _print(api, session_id))


async def _floor_round(bench: Bench, floor: Floor) -> None:
    with bench.results.failures_of("print_raw"):
        bench.results["print_raw"].samples.extend(await floor.prints(bench.counts.prints))


async def _gateway_round(bench: Bench, kernel: GatewayKernel, figure: str, count: int) -> None:
    for _ in range(count):
        with bench.results.failures_of(figure):
            watch = Stopwatch()
            outputs = await kernel.execute(PRINT)
            elapsed_ms = watch.ms()
            require("".join(o.get("text", "") for o in outputs) == "1\n", f"printed {outputs}")
            bench.results[figure].samples.append(elapsed_ms)


async def _print(api: Api, session_id: str) -> float:
    watch = Stopwatch()
    answer = await api.execute(session_id, PRINT)
    elapsed_ms = watch.ms()
    require(is_printed_one(answer.json(200)["outputs"]), f"printed {answer.body[:200]!r}")
    return elapsed_ms


async def restarts(bench: Bench) -> None:
    """From asking for the restart to holding the answer of the next cell."""
    async with bench.target.api() as api, session(api) as session_id:
        for _ in range(bench.counts.restarts):
            with bench.results.failures_of("restart"):
                (await api.execute(session_id, "kept = 1")).json(200)
                watch = Stopwatch()
                await api.restart(session_id)
                answer = await api.execute(session_id, "print('kept' in globals())")
                elapsed_ms = watch.ms()
                execution = answer.json(200)
                require(execution["outputs"][0]["text"] == "False\n", "not a fresh kernel")
                require(execution["kernel"]["state"] == "reset", "the reset is not told")
                bench.results["restart"].samples.append(elapsed_ms)


async def throughput(bench: Bench) -> None:
    """Each session's client sends its next cell when it holds the answer to the one before."""
    async with bench.target.api() as api, AsyncExitStack() as stack:
        ids = [await stack.enter_async_context(session(api)) for _ in range(LIVE_SESSIONS)]
        await asyncio.gather(*(_cells_until(bench, one, time.perf_counter() + 1) for one in ids))
        with bench.results.failures_of("throughput"):
            await _measure_throughput(bench, ids)


async def _measure_throughput(bench: Bench, ids: list[str]) -> None:
    started, cpu_before = time.perf_counter(), time.process_time()
    until = started + bench.counts.throughput_s
    counts = await asyncio.gather(*(_cells_until(bench, one, until) for one in ids))
    elapsed_s = time.perf_counter() - started
    client_share = (time.process_time() - cpu_before) / elapsed_s
    series = bench.results["throughput"]
    series.samples.append(sum(counts) / elapsed_s)
    series.notes.append(
        f"{LIVE_SESSIONS} connections in one asyncio process, which used "
        f"{client_share:.0%} of one core"
    )


async def _cells_until(bench: Bench, session_id: str, until: float) -> int:
    count = 0
    async with bench.target.api() as api:
        while time.perf_counter() < until:
            await _print(api, session_id)
            count += 1
    return count
