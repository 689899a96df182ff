"""How long a printed line takes from its flush to a reader of the event stream."""

from tests.benchmarks.bench import Bench
from tests.benchmarks.samples import require
from tests.benchmarks.service import session
from tests.benchmarks.workloads import ticks


async def flush_to_reader(bench: Bench) -> None:
    """The cell prints its time; the reader compares it with its own, by the same machine's clock."""
    async with bench.target.api() as api, session(api) as session_id:
        path = f"/v1/sessions/{session_id}/executions"
        with bench.results.failures_of("flush"):
            delays: list[float] = []
            value = {"code": ticks(bench.counts.ticks)}
            async for arrived, data in api.connection.follow(path, value):
                if "output" in data:
                    lines = data["output"]["text"].split()
                    delays.extend((arrived - float(line)) * 1000 for line in lines)
            require(len(delays) == bench.counts.ticks, f"{len(delays)} lines arrived")
            bench.results["flush"].samples.extend(delays)
