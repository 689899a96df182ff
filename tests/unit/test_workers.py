"""A session's queue is worked off in order, by one replica at a time, also when that one goes away."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress

import pytest

from sandbox_service.domain.errors import RateLimited, SandboxLost, ServiceError
from sandbox_service.domain.requests import ExecuteCode
from sandbox_service.domain.stores import Stores
from sandbox_service.domain.tenancy import Held
from sandbox_service.domain.values import (
    ExecutionStatus,
    SessionStatus,
)
from sandbox_service.store.bounds import StoreBounds
from sandbox_service.store.memory import open_memory_stores
from tests.support.fake_kernels import Cell
from tests.support.fakes import PlaysCells
from tests.support.turns import others_run
from tests.unit.fakes.replica import TENANT, Replica, replica_on, running, text_of, until


@pytest.fixture
def backend() -> PlaysCells:
    return PlaysCells(
        {
            "held": Cell(texts=("a\n", "b\n", "c\n"), waits_after=2),
            "deaf": Cell(waits_after=0, ignores_interrupts=True),
        }
    )


@pytest.fixture
def stores() -> Iterator[Stores]:
    with open_memory_stores(StoreBounds()) as stores:
        yield stores


@pytest.fixture
async def replica(stores: Stores, backend: PlaysCells) -> AsyncIterator[Replica]:
    async with replica_on(stores, backend) as replica:
        yield replica


async def test_executions_of_a_session_run_one_at_a_time_in_order(
    replica: Replica, backend: PlaysCells
) -> None:
    session = await replica.open()
    accepted = [await replica.submit(session, "held") for _ in range(3)]
    await until(lambda: backend.kernels and backend.kernel.starts)
    await others_run()
    assert backend.kernel.starts == [accepted[0].id]
    backend.cells["held"].go_on.set()
    ended = [await replica.wait(execution) for execution in accepted]
    assert [execution.status for execution in ended] == ["ok"] * 3
    assert backend.kernel.starts == [execution.id for execution in accepted]
    await until(lambda: not replica.workers.is_busy)


async def test_an_end_is_noted_once_and_gives_its_quota_back(replica: Replica) -> None:
    session = await replica.open()
    await replica.wait(await replica.submit(session))
    await until(lambda: not replica.workers.is_busy)
    assert replica.quotas.held(TENANT, Held.EXECUTIONS) == 0
    assert len(replica.audit.of("execution.finished")) == 1
    assert replica.metrics.registry.get_sample_value(
        "sandbox_executions_total", {"status": "ok"}
    ) == (1)


async def test_a_full_queue_refuses_and_holds_nothing_of_the_quota(
    replica: Replica, backend: PlaysCells
) -> None:
    session = await replica.open()
    for _ in range(9):
        await replica.submit(session, "held")
    with pytest.raises(RateLimited) as refusal:
        await replica.submit(session, "held")
    assert refusal.value.code == "queue_full"
    assert replica.quotas.held(TENANT, Held.EXECUTIONS) == 9
    backend.cells["held"].go_on.set()


async def test_the_same_id_is_the_same_execution(replica: Replica, backend: PlaysCells) -> None:
    session = await replica.open()
    code = ExecuteCode(code="1")
    asked = (replica.executions.submit(TENANT, session.id, code, "exec_k") for _ in range(5))
    assert {execution.id for execution in await asyncio.gather(*asked)} == {"exec_k"}
    first = await replica.executions.get(TENANT, session.id, "exec_k")
    await replica.wait(first)
    again = await replica.executions.submit(TENANT, session.id, code, "exec_k")
    assert again.status is ExecutionStatus.OK
    assert backend.kernel.starts == ["exec_k"]
    assert replica.quotas.held(TENANT, Held.EXECUTIONS) == 0


async def test_one_that_is_cancelled_while_it_waits_never_starts(
    replica: Replica, backend: PlaysCells
) -> None:
    session = await replica.open()
    first = await running(replica, session)
    second, third = [await replica.submit(session) for _ in range(2)]
    await replica.executions.cancel(TENANT, session.id, second.id)
    backend.cells["held"].go_on.set()
    cancelled = await replica.wait(second)
    assert (cancelled.status, cancelled.started_at) == (ExecutionStatus.INTERRUPTED, None)
    assert "cancelled before it started" in cancelled.notices[0]
    assert (await replica.wait(third)).status is ExecutionStatus.OK
    assert backend.kernel.starts == [first.id, third.id]
    assert replica.quotas.held(TENANT, Held.EXECUTIONS) == 0


async def test_one_that_is_cancelled_while_it_runs_is_interrupted(
    replica: Replica, backend: PlaysCells
) -> None:
    session = await replica.open()
    execution = await running(replica, session)
    await replica.executions.cancel(TENANT, session.id, execution.id)
    ended = await replica.wait(execution)
    assert (ended.status, text_of(ended)) == (ExecutionStatus.INTERRUPTED, "a\nb\n")
    assert backend.kernel.interrupted == [execution.id]


@pytest.mark.parametrize("asks", ["sessions", "executions"])
async def test_an_interrupt_that_comes_before_the_kernel_has_begun_is_not_lost(
    replica: Replica, backend: PlaysCells, asks: str
) -> None:
    """The kernel does not hear it between two cells: it is told again when it is at this one."""
    cell = backend.cells["early"] = Cell(waits_after=1, begins=asyncio.Event())
    session = await replica.open()
    execution = await replica.submit(session, "early")
    await until(lambda: backend.kernels and backend.kernel.starts)
    if asks == "sessions":
        await replica.sessions.interrupt(TENANT, session.id)
    else:
        await replica.executions.cancel(TENANT, session.id, execution.id)
    cell.begins.set()
    assert (await replica.wait(execution)).status is ExecutionStatus.INTERRUPTED


async def test_an_interrupt_means_the_one_that_runs_and_no_later_one(
    replica: Replica, backend: PlaysCells
) -> None:
    session = await replica.open()
    first = await running(replica, session)
    second = await replica.submit(session)
    await replica.sessions.interrupt(TENANT, session.id)
    assert (await replica.wait(first)).status is ExecutionStatus.INTERRUPTED
    assert (await replica.wait(second)).status is ExecutionStatus.OK
    await replica.sessions.interrupt(TENANT, session.id)
    assert backend.kernel.interrupted == [first.id]


async def test_a_restart_ends_what_runs_and_raises_the_epoch_once(
    replica: Replica, backend: PlaysCells
) -> None:
    session = await replica.open()
    first = await running(replica, session, "deaf")
    second = await replica.submit(session)
    await replica.sessions.restart(TENANT, session.id)
    ended = await replica.wait(first)
    assert (ended.status, ended.kernel.epoch) == (ExecutionStatus.INTERRUPTED, 2)
    after = await replica.wait(second)
    assert (after.kernel.epoch, after.kernel.state) == (2, "reset")
    assert backend.kernel.killed == [1]
    assert (await replica.sessions.get(TENANT, session.id)).epoch == 2


async def test_at_its_deadline_one_that_does_not_listen_is_killed(
    replica: Replica, backend: PlaysCells
) -> None:
    session = await replica.open()
    request = ExecuteCode(code="deaf", timeout_s=0.1)
    execution = await replica.executions.submit(TENANT, session.id, request)
    ended = await replica.wait(execution)
    assert (ended.status, ended.kernel.state) == (ExecutionStatus.TIMEOUT, "reset")
    assert backend.kernel.interrupted == [execution.id] * 2
    assert backend.kernel.killed == [1]
    assert len(ended.notices) == 4


async def test_a_session_that_ends_takes_what_waits_and_runs_with_it(replica: Replica) -> None:
    session = await replica.open()
    first = await running(replica, session)
    second = await replica.submit(session)
    await replica.sessions.close(TENANT, session.id)
    ended = [await replica.wait(execution) for execution in (first, second)]
    assert [one.status for one in ended] == [ExecutionStatus.INTERRUPTED] * 2
    assert [text_of(one) for one in ended] == ["a\nb\n", ""]
    assert all("session ended (closed)" in one.notices[-1] for one in ended)
    await until(lambda: not replica.workers.is_busy)
    assert replica.quotas.held(TENANT, Held.EXECUTIONS) == 0
    assert len(replica.audit.of("execution.finished")) == 2


async def test_who_waits_for_one_of_a_lost_session_is_told_that_we_failed(
    replica: Replica,
) -> None:
    session = await replica.open()
    execution = await running(replica, session)
    await replica.ender.end(session.id, SessionStatus.LOST)
    with pytest.raises(SandboxLost):
        await replica.wait(execution)


async def test_a_sandbox_that_is_gone_ends_its_execution_and_its_session(
    replica: Replica, backend: PlaysCells
) -> None:
    session = await replica.open()
    first = await running(replica, session)
    second = await replica.submit(session)
    backend.kill(session.sandbox)
    for execution in (first, second):
        with suppress(SandboxLost):
            await replica.wait(execution)
    ended = await replica.sessions.get(TENANT, session.id)
    assert ended.status is SessionStatus.LOST
    assert replica.quotas.held(TENANT, Held.EXECUTIONS) == 0
    assert replica.quotas.held(TENANT, Held.SESSIONS) == 0


async def test_a_failure_of_ours_ends_the_execution_and_says_so(
    replica: Replica, backend: PlaysCells, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = await replica.open()

    async def fails(*_: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(replica.artifacts, "collect", fails)
    with pytest.raises(ServiceError):
        await replica.wait(await replica.submit(session))
    await until(lambda: not replica.workers.is_busy)
    assert (await replica.sessions.get(TENANT, session.id)).status is SessionStatus.LOST
