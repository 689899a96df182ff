"""What sessions and executions hold of their quotas is given back however they end."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from sandbox_service.domain.errors import RateLimited, ServiceError
from sandbox_service.domain.requests import OpenSession
from sandbox_service.domain.tenancy import CALLER, Caller, Held
from sandbox_service.domain.values import (
    ExecutionRecord,
    ExecutionStatus,
    KernelStamp,
    Limits,
    SessionStatus,
    Template,
)
from sandbox_service.sessions.ending import SessionEnder
from sandbox_service.sessions.live import LiveSession
from sandbox_service.sessions.metrics import Metrics
from sandbox_service.sessions.oversight import Oversight, output_size
from sandbox_service.sessions.provisioning import Provisioner
from sandbox_service.sessions.records import SessionRecords
from sandbox_service.sessions.service import SessionService, SessionTerms
from sandbox_service.sessions.source import SandboxSource
from sandbox_service.store.memory import MemorySessionStore
from sandbox_service.tenants.quotas import MemoryQuotas, SharedRoom
from sandbox_service.tenants.records import TenantLimits
from tests.support.fakes import FailsFirstStarts, InstantBackend, NeverReady, SteppedClock
from tests.unit.fakes.api_fakes import MemoryAudit

TERMS = SessionTerms(60, 1, 600, 600, 600, max_sessions=8)


class NothingToRun:
    """Executions of sessions that nobody uses."""

    async def work(self, live: LiveSession) -> None:
        await asyncio.Event().wait()


@dataclass
class Desk:
    sessions: SessionService
    ender: SessionEnder
    quotas: MemoryQuotas
    audit: MemoryAudit

    @property
    def held(self) -> int:
        return self.quotas.held("first", Held.SESSIONS)


def desk_on(backend: InstantBackend, timeout_s: float = 5, sessions: int = 2) -> Desk:
    clock, live, metrics = SteppedClock(), {}, Metrics()
    limits = TenantLimits(sessions=sessions)
    quotas = MemoryQuotas(lambda tenant: limits, SharedRoom(8, frozenset), clock)
    audit = MemoryAudit()
    oversight = Oversight(clock, quotas, audit)
    records = SessionRecords(MemorySessionStore(), clock)
    ender = SessionEnder(records, backend, live, metrics, oversight)
    templates = {"python": Template()}
    source = SandboxSource(records, Provisioner(backend, timeout_s, 2), {}, templates)
    service = SessionService(
        records,
        live,
        source,
        ender,
        NothingToRun(),  # type: ignore[arg-type]
        templates,
        TERMS,
        metrics,
        oversight,
    )
    return Desk(service, ender, quotas, audit)


ENDS = [SessionStatus.CLOSED, SessionStatus.EXPIRED, SessionStatus.LOST]


@pytest.mark.parametrize("status", ENDS)
async def test_an_ended_session_is_given_back_once_and_written_down_once(
    status: SessionStatus,
) -> None:
    desk = desk_on(InstantBackend())
    record = await desk.sessions.open("first", OpenSession())
    assert desk.held == 1
    for _ in range(2):
        await desk.ender.end(record.id, status)
    assert desk.held == 0
    assert [event["event"] for event in desk.audit.events] == [
        "session.opened",
        f"session.{status.value}",
    ]


@pytest.mark.parametrize("backend", [lambda: FailsFirstStarts(1), NeverReady])
async def test_a_session_that_did_not_start_holds_nothing(
    backend: Callable[[], InstantBackend],
) -> None:
    desk = desk_on(backend(), timeout_s=0.05)
    with pytest.raises(ServiceError):
        await desk.sessions.open("first", OpenSession())
    assert desk.held == 0
    assert desk.audit.events == []


async def test_a_service_that_stops_in_the_middle_of_a_start_holds_nothing() -> None:
    desk = desk_on(NeverReady())
    opening = asyncio.create_task(desk.sessions.open("first", OpenSession()))
    while not desk.held:
        await asyncio.sleep(0)
    await desk.sessions.aclose()
    await asyncio.wait([opening])
    assert desk.held == 0


async def test_of_a_burst_only_the_quota_is_started() -> None:
    backend = InstantBackend()
    desk = desk_on(backend)
    opens = (desk.sessions.open("first", OpenSession()) for _ in range(6))
    results = await asyncio.gather(*opens, return_exceptions=True)
    assert sum(isinstance(result, RateLimited) for result in results) == 4
    assert (backend.started_count, desk.held) == (2, 2)
    await desk.sessions.aclose()
    assert desk.held == 0


def ended(status: ExecutionStatus, **changes: object) -> ExecutionRecord:
    now = SteppedClock().now()
    fields = {
        "id": "exec_1",
        "session_id": "sess_1",
        "tenant": "first",
        "status": status,
        "created_at": now,
        "code": "6 * 7",
        "kernel": KernelStamp(epoch=1, state="kept"),
        "session_expires_at": now,
        **changes,
    }
    return ExecutionRecord.model_validate(fields)


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
    record = ended(ExecutionStatus.LOST, **times)
    oversight.execution_ended(record, Limits(cpus=2), Caller())
    await quotas.require_cpu("first")
    quotas.spend_cpu("first", 0.002)
    with pytest.raises(RateLimited):
        await quotas.require_cpu("first")


async def test_an_execution_is_written_down_without_its_code_and_output() -> None:
    audit = MemoryAudit()
    oversight = Oversight(SteppedClock(), audit=audit)
    output = {"output_type": "stream", "name": "stdout", "text": "secret"}
    record = ended(ExecutionStatus.OK, duration_s=1.0, outputs=[output])
    oversight.execution_ended(record, Limits(), Caller("first", "key_1", "192.0.2.1"))
    [event] = audit.events
    assert (event["key_id"], event["address"]) == ("key_1", "192.0.2.1")
    assert (event["code_bytes"], event["output_bytes"]) == (5, 6)
    assert "6 * 7" not in str(event)
    assert "secret" not in str(event)


async def test_code_is_written_down_for_tenants_that_want_it() -> None:
    audit = MemoryAudit()
    recorded = Oversight(SteppedClock(), audit=audit, recorded_tenants=frozenset({"first"}))
    recorded.execution_ended(ended(ExecutionStatus.OK), Limits(), Caller())
    assert audit.events[0]["code"] == "6 * 7"


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
