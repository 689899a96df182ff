"""A cluster with its callers, its history and a watch over it; at its end everything is checked."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import cached_property
from pathlib import Path

import httpx

from sandbox_service.domain.quota_rules import TenantLimits
from sandbox_service.tenants.key_file import FILE_NAME, KeyFile
from tests.faults import invariants
from tests.faults.callers import Caller
from tests.faults.history import FINAL, LIVE, History
from tests.faults.reality import Reality, Use, reality_of, use_of
from tests.support.cluster import TENANTS, Cluster, ClusterSpec
from tests.support.service import add_full_key

WATCH_EVERY_S = 0.5
GRACE_S = 20.0
POLL_S = 0.3


class Scene:
    """What one fault is caused in."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.history = History()
        self.reality: Reality = reality_of(cluster)
        self.callers = {name: Caller(cluster, self.history, name) for name in TENANTS}

    @property
    def first(self) -> Caller:
        return self.callers["first"]

    @property
    def second(self) -> Caller:
        return self.callers["second"]

    async def watch(self) -> None:
        """Look at the engine again and again; a session with two containers is noted."""
        while True:
            with suppress(httpx.HTTPError):
                found = invariants.double_live(await self.reality.sandboxes())
                self.history.double_live.update(found)
            await asyncio.sleep(WATCH_EVERY_S)

    async def live_sessions(self) -> set[str]:
        """The ids of every tenant's live sessions, as the service lists them."""
        live = set()
        for caller in self.callers.values():
            listed = await caller.sessions()
            live |= {session["id"] for session in listed if session["status"] in LIVE}
        return live

    @cached_property
    def full_key(self) -> str:
        return add_full_key(self.cluster.data_dir, TENANTS[0])

    async def metric(self, name: str) -> float:
        """A metric's sum over the replicas that are up."""
        total = 0.0
        headers = {"Authorization": f"Bearer {self.full_key}"}
        async with httpx.AsyncClient(timeout=10, headers=headers) as client:
            for replica in self.cluster.up:
                text = (await client.get(f"{replica.url}/metrics")).text
                lines = [line for line in text.splitlines() if line.startswith(name)]
                total += sum(float(line.rsplit(" ", 1)[1]) for line in lines)
        return total

    def uses(self) -> list[Use]:
        """What each replica that is up uses."""
        return [use_of(replica.pid) for replica in self.cluster.up]

    async def leftovers(self, pooled: int = 0) -> list[str]:
        """What is left without its other half at this moment."""
        live = await self.live_sessions()
        sandboxes = await self.reality.sandboxes()
        directories = self.reality.control_directories()
        return invariants.sandboxes_without_record(sandboxes, directories, live, pooled)

    async def settle(self, grace_s: float = GRACE_S, pooled: int = 0) -> list[str]:
        """What is still left without its other half after the grace time."""
        last = time.monotonic() + grace_s
        while findings := await self.leftovers(pooled):
            if time.monotonic() > last:
                return findings
            await asyncio.sleep(POLL_S)
        return []

    async def until_empty(self, grace_s: float = GRACE_S) -> float:
        """Seconds until there is no live session, no sandbox and no control directory."""
        began = time.monotonic()
        while left := [
            *await self.live_sessions(),
            *await self.reality.sandboxes(),
            *self.reality.control_directories(),
        ]:
            assert time.monotonic() - began < grace_s, f"left after {grace_s:g} s: {left}"
            await asyncio.sleep(POLL_S)
        return time.monotonic() - began

    async def check(self, grace_s: float = GRACE_S, pooled: int = 0) -> None:
        """Hold everything against all invariants, when nothing is on its way."""
        orphans = await self.settle(grace_s, pooled)
        for caller in self.callers.values():
            await self._witness_all(caller)
        await self._read_all()
        findings = invariants.check_history(self.history)
        findings += [f"I5 {finding}" for finding in orphans]
        findings += [f"I7 {finding}" for finding in await self.quota_drift()]
        assert findings == [], "\n".join([*findings, str(self.history.statuses())])

    async def _witness_all(self, caller: Caller) -> None:
        for session in await caller.sessions():
            if session["status"] == "ready":
                await caller.witness(session["id"])

    async def _read_all(self) -> None:
        """Every session and every finished execution once more, on every replica."""
        seen: dict[str, tuple[str, str]] = {}
        for call in self.history.calls:
            if call.execution_id and call.session_id:
                seen[call.execution_id] = (call.tenant, call.session_id)
        final = {
            execution["id"]
            for _, _, _, execution in self.history.executions_seen()
            if execution["status"] in FINAL
        }
        for replica in self.cluster.up:
            for execution_id in sorted(final & set(seen)):
                tenant, session_id = seen[execution_id]
                await self.callers[tenant].read_execution(session_id, execution_id, replica)
            for tenant, session_id in self._sessions_told():
                await self.callers[tenant].read_session(session_id, replica)

    def _sessions_told(self) -> set[tuple[str, str]]:
        """Those that a caller was told the id of."""
        return {
            (call.tenant, call.session_id)
            for call in self.history.calls
            if call.body.get("object") == "session"
        }

    async def quota_drift(self) -> list[str]:
        """Whether one more session fits into exactly one more than there are, and none into as many."""
        drifts = await asyncio.gather(*(self._drift_of(one) for one in self.callers.values()))
        return [finding for drift in drifts for finding in drift]

    async def _drift_of(self, caller: Caller) -> list[str]:
        drift = []
        live = sum(session["status"] in LIVE for session in await caller.sessions())
        self._limit(caller.tenant, TenantLimits(sessions=live, executions=1))
        if (call := await caller.open()).error_code != "quota_sessions":
            drift.append(f"{caller.tenant} has {live} sessions, fewer are counted: {call}")
        self._limit(caller.tenant, TenantLimits(sessions=live + 1, executions=1))
        drift += await self._drift_by_opening(caller, live)
        self._limit(caller.tenant, None)
        return drift

    async def _drift_by_opening(self, caller: Caller, live: int) -> list[str]:
        call = await caller.open()
        if call.status != 201:
            return [f"{caller.tenant} has {live} sessions, more are counted: {call}"]
        session_id = call.body["id"]
        ran = await caller.run(session_id, "print(1)")
        await caller.close(session_id)
        if ran.status != 200:
            return [f"{caller.tenant} has nothing running, something is counted: {ran}"]
        return []

    def _limit(self, tenant: str, limits: TenantLimits | None) -> None:
        KeyFile(self.cluster.data_dir / FILE_NAME).set_quotas(tenant, limits)

    async def close_all(self) -> None:
        """Every session closed by its tenant."""
        for caller in self.callers.values():
            for session in await caller.sessions():
                if session["status"] in LIVE:
                    await caller.close(session["id"])


@asynccontextmanager
async def open_scene(directory: Path, spec: ClusterSpec) -> AsyncIterator[Scene]:
    """A running cluster under watch; killed and cleaned up at the end, whatever happened."""
    cluster = Cluster(directory, spec)
    scene = Scene(cluster)
    try:
        async with cluster:
            watching = asyncio.create_task(scene.watch())
            try:
                yield scene
            finally:
                watching.cancel()
                for caller in scene.callers.values():
                    await caller.__aexit__()
                cluster.kill()
                await scene.reality.remove_all()
    finally:
        cluster.kill()
