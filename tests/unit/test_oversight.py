"""What sessions and executions hold of their quotas is given back however they end."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from sandbox_service.domain.errors import RateLimited, ServiceError
from sandbox_service.domain.requests import OpenSession
from sandbox_service.domain.tenancy import CALLER, Caller, Held
from sandbox_service.domain.values import (
    ArtifactRecord,
    ExecutionRecord,
    ExecutionStatus,
    ExecutionTerms,
    SandboxRef,
    SessionStatus,
)
from sandbox_service.sessions.oversight import Oversight, output_size
from sandbox_service.store.bounds import StoreBounds
from sandbox_service.store.memory import open_memory_stores
from sandbox_service.tenants.quotas import MemoryQuotas, SharedRoom
from sandbox_service.tenants.records import TenantLimits
from tests.support.fake_kernels import Cell
from tests.support.fakes import (
    FailsFirstStarts,
    InstantBackend,
    NeverReady,
    PlaysCells,
    SteppedClock,
    execution_record,
)
from tests.unit.fakes.api_fakes import MemoryAudit
from tests.unit.fakes.replica import TENANT, Replica, replica_on, running


@asynccontextmanager
async def desk_on(
    backend: InstantBackend, timeout_s: float = 5, **parts: object
) -> AsyncIterator[Replica]:
    """A service whose tenant may have two sessions at once."""
    limits = TenantLimits(sessions=2)
    with open_memory_stores(StoreBounds()) as stores:
        async with replica_on(
            stores, backend, limits=limits, start_timeout_s=timeout_s, **parts
        ) as desk:
            yield desk


def held(desk: Replica) -> int:
    return desk.quotas.held(TENANT, Held.SESSIONS)


ENDS = [SessionStatus.CLOSED, SessionStatus.EXPIRED, SessionStatus.LOST]


@pytest.mark.parametrize("status", ENDS)
async def test_an_ended_session_is_given_back_once_and_written_down_once(
    status: SessionStatus,
) -> None:
    async with desk_on(InstantBackend()) as desk:
        record = await desk.open()
        assert held(desk) == 1
        desk.clock.advance(61)
        for _ in range(2):
            await desk.ender.end(record.id, status)
        assert held(desk) == 0
        assert [event["event"] for event in desk.audit.events] == [
            "session.opened",
            f"session.{status.value}",
        ]


@pytest.mark.parametrize("backend", [lambda: FailsFirstStarts(1), NeverReady])
async def test_a_session_that_did_not_start_holds_nothing(
    backend: Callable[[], InstantBackend],
) -> None:
    async with desk_on(backend(), timeout_s=0.05) as desk:
        with pytest.raises(ServiceError):
            await desk.open()
        assert held(desk) == 0
        assert desk.audit.events == []
        assert desk.backend.running == {}


async def test_a_service_that_stops_in_the_middle_of_a_start_holds_nothing() -> None:
    async with desk_on(NeverReady()) as desk:
        opening = asyncio.create_task(desk.open())
        while not held(desk):
            await asyncio.sleep(0)
        await desk.sessions.aclose()
        await asyncio.wait([opening])
        assert held(desk) == 0


async def test_of_a_burst_only_the_quota_is_started() -> None:
    async with desk_on(InstantBackend()) as desk:
        opens = (desk.sessions.open(TENANT, OpenSession()) for _ in range(6))
        results = await asyncio.gather(*opens, return_exceptions=True)
        assert sum(isinstance(result, RateLimited) for result in results) == 4
        assert (desk.backend.started_count, held(desk)) == (2, 2)
        await desk.sessions.end_all()
        assert held(desk) == 0


async def test_a_refused_or_ended_execution_holds_nothing() -> None:
    async with desk_on(PlaysCells({"held": Cell(waits_after=0)})) as desk:
        session = await desk.open()
        await running(desk, session)
        assert desk.quotas.held(TENANT, Held.EXECUTIONS) == 1
        await desk.sessions.close(TENANT, session.id)
        with pytest.raises(ServiceError):
            await desk.submit(session)
        assert desk.quotas.held(TENANT, Held.EXECUTIONS) == 0


async def test_whoever_is_told_of_an_end_can_begin_anew_on_any_replica() -> None:
    """What is given back is there for the others before the end is told."""
    async with desk_on(PlaysCells()) as desk:
        session = await desk.open()
        await desk.wait(await desk.submit(session))
        assert desk.quotas.held(TENANT, Held.EXECUTIONS) == 0
        await desk.sessions.close(TENANT, session.id)
        assert held(desk) == 0


def ended(status: ExecutionStatus, **changes: object) -> ExecutionRecord:
    fields = {"code": "6 * 7", "status": status, **changes}
    return execution_record(SteppedClock(), **fields)


SPENT = [
    ({"duration_s": 3.0, "started_at": SteppedClock().now()}, 6.0),
    ({"started_at": SteppedClock().now()}, 20.0),
    ({}, 0.0),
]


@pytest.mark.parametrize(("times", "cpu_seconds"), SPENT)
async def test_cpu_is_counted_as_time_on_all_cpus_also_of_what_was_cut_off(
    times: dict[str, object], cpu_seconds: float
) -> None:
    clock = SteppedClock()
    limits = TenantLimits(cpu_seconds_per_day=cpu_seconds + 0.001)
    quotas = MemoryQuotas(lambda tenant: limits, SharedRoom(8, frozenset), clock)
    oversight = Oversight(clock, quotas)
    clock.advance(10)
    oversight.execution_ended(ended(ExecutionStatus.LOST, terms=ExecutionTerms(cpus=2), **times))
    await quotas.require_cpu("first")
    quotas.spend_cpu("first", 0.002)
    with pytest.raises(RateLimited):
        await quotas.require_cpu("first")


class Meter:
    """A meter that shows what it is told to."""

    counts_cpu = True

    def __init__(self) -> None:
        self.total_s = 50.0

    async def cpu_s(self, ref: SandboxRef) -> float | None:
        return self.total_s


async def test_what_a_sandbox_uses_between_its_cells_counts_and_its_start_does_not() -> None:
    meter = Meter()
    async with desk_on(PlaysCells(), meter=meter) as desk:
        session = await desk.open()
        await desk.wait(await desk.submit(session))
        assert desk.quotas.spent_cpu_s(TENANT) == 0
        meter.total_s += 7
        await desk.reaper.read_meters()
        assert desk.quotas.spent_cpu_s(TENANT) == 7
        meter.total_s += 1
        await desk.sessions.close(TENANT, session.id)
        assert desk.quotas.spent_cpu_s(TENANT) == 8


async def test_an_execution_is_written_down_without_its_code_and_output() -> None:
    audit = MemoryAudit()
    oversight = Oversight(SteppedClock(), audit=audit)
    output = {"output_type": "stream", "name": "stdout", "text": "secret"}
    terms = ExecutionTerms(key_id="key_1", address="192.0.2.1")
    oversight.execution_ended(
        ended(ExecutionStatus.OK, duration_s=1.0, outputs=[output], terms=terms)
    )
    [event] = audit.events
    assert (event["key_id"], event["address"]) == ("key_1", "192.0.2.1")
    assert (event["code_bytes"], event["output_bytes"]) == (5, 6)
    assert "6 * 7" not in str(event)
    assert "secret" not in str(event)


async def test_code_is_written_down_for_tenants_that_want_it() -> None:
    audit = MemoryAudit()
    recorded = Oversight(SteppedClock(), audit=audit, recorded_tenants=frozenset({"first"}))
    recorded.execution_ended(ended(ExecutionStatus.OK))
    assert audit.events[0]["code"] == "6 * 7"


async def test_an_execution_is_written_down_for_who_asked_for_it_whoever_ran_it() -> None:
    """Its caller is in its record, not in the context of the worker."""
    async with desk_on(PlaysCells()) as desk:
        session = await desk.open()
        token = CALLER.set(Caller(TENANT, "key_1", "192.0.2.1"))
        execution = await desk.submit(session)
        CALLER.reset(token)
        await desk.wait(execution)
        while not (noted := desk.audit.of("execution.finished")):
            await asyncio.sleep(0)
        assert (noted[0]["key_id"], noted[0]["address"]) == ("key_1", "192.0.2.1")


def test_who_acts_for_nobody_is_the_service() -> None:
    assert CALLER.get().tenant == ""


OUTPUTS = [
    ({"output_type": "stream", "name": "stdout", "text": "é"}, 2),
    ({"output_type": "display_data", "data": {"text/plain": "ab", "x/json": {"a": 1}}}, 9),
    ({"output_type": "error", "ename": "E", "evalue": "abc", "traceback": ["d", "e"]}, 5),
]


@pytest.mark.parametrize(("node", "size"), OUTPUTS)
def test_the_size_of_an_output_is_its_text_and_data(node: dict[str, object], size: int) -> None:
    assert output_size([node]) == size


async def test_a_cell_that_makes_many_files_with_long_names_costs_the_log_little() -> None:
    """The first ones are named, as far as tells them apart; number and size are of all."""
    audit = MemoryAudit()
    clock = SteppedClock()
    files = [
        ArtifactRecord(
            id=f"art_{number}",
            tenant="acme",
            session_id="sess_a",
            execution_id="exec_a",
            path=f"{number:03d}" + "/x" * 1000 + ".csv",
            size=10,
            media_type="text/csv",
            sha256="0" * 64,
            created_at=clock.now(),
            expires_at=clock.now(),
        )
        for number in range(100)
    ]
    record = execution_record(clock, "exec_a").model_copy(update={"artifacts": files})
    Oversight(clock, audit=audit).execution_ended(record)
    (event,) = audit.events
    assert len(json.dumps(event)) < 4000
    assert (event["files_count"], event["files_bytes"]) == (100, 1000)
    names = [file["path"] for file in event["files"]]
    assert [(name[:4], name[-4:]) for name in names] == [(f"{n:03d}/", ".csv") for n in range(10)]
