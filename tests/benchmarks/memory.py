"""What an idle session costs in memory: the proportional share (PSS) of all its processes."""

import asyncio
import re
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks.bench import Bench
from tests.benchmarks.containers import processes_of
from tests.benchmarks.samples import require
from tests.benchmarks.service import session
from tests.benchmarks.workloads import FIRST_CHART

SESSIONS = 4
SETTLE_S = 1.0


@dataclass(frozen=True, slots=True)
class Share:
    """PSS in MB (10^6 bytes) of one session's processes."""

    agent: float
    zygote: float
    kernel: float

    @property
    def total(self) -> float:
        return self.agent + self.zygote + self.kernel


async def idle_sessions(bench: Bench) -> None:
    """With one session alive, then with four: what sessions share is split between them."""
    async with bench.target.api() as api, AsyncExitStack() as stack:
        for count in range(1, SESSIONS + 1):
            session_id = await stack.enter_async_context(session(api))
            answer = await api.execute(session_id, FIRST_CHART)
            require(answer.json(200)["status"] == "ok", "the cell failed")
            if count in (1, SESSIONS):
                await asyncio.sleep(SETTLE_S)
                _record(bench, f"memory_{count}")


def _record(bench: Bench, figure: str) -> None:
    shares = [_share(pids) for pids in processes_of(bench.target.instance)]
    bench.results[figure].samples.extend(share.total for share in shares)
    means = (
        sum(getattr(share, part) for share in shares) / len(shares)
        for part in ("agent", "zygote", "kernel")
    )
    bench.results[figure].notes.append(
        "agent {:.0f} + zygote {:.0f} + kernel {:.0f} MB".format(*means)
    )


def _share(pids: list[int]) -> Share:
    """The agent is the first process, the zygote its child, everything else the kernel's."""
    parents = {pid: _parent(pid) for pid in pids}
    agent = next(pid for pid in pids if parents[pid] not in parents)
    by_role = {"agent": 0.0, "zygote": 0.0, "kernel": 0.0}
    for pid in pids:
        is_zygote = parents[pid] == agent and pid in parents.values()
        role = "agent" if pid == agent else "zygote" if is_zygote else "kernel"
        by_role[role] += _pss_mb(pid)
    return Share(**by_role)


def _parent(pid: int) -> int:
    found = re.search(r"PPid:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1])


def _pss_mb(pid: int) -> float:
    found = re.search(r"\nPss:\s+(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text())
    assert found is not None
    return int(found[1]) * 1024 / 1e6
