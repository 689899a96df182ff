"""What only the store or only the engine knows is removed, after a grace; what both have lost is taken back."""

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence

import pytest

from sandbox_service.domain.errors import EngineUnavailable, StoreUnavailable
from sandbox_service.domain.stores import Lease, Stores
from sandbox_service.domain.tenancy import Held
from sandbox_service.domain.values import (
    PURPOSE,
    SandboxRef,
    SandboxSpec,
    SessionRecord,
    SessionStatus,
    Template,
)
from sandbox_service.sessions.leader import Leader
from sandbox_service.sessions.pool import PoolSize
from sandbox_service.store.bounds import StoreBounds
from sandbox_service.store.memory import open_memory_stores
from tests.support.fake_kernels import Cell
from tests.support.fakes import InstantBackend, PlaysCells, session_record
from tests.unit.fakes.replica import TENANT, Replica, replica_on, running

STRAY = SandboxRef(sandbox_id="box_stray")


@pytest.fixture
def backend() -> PlaysCells:
    return PlaysCells({"held": Cell(waits_after=0)})


@pytest.fixture
def stores() -> Iterator[Stores]:
    with open_memory_stores(StoreBounds()) as stores:
        yield stores


@pytest.fixture
async def replica(stores: Stores, backend: PlaysCells) -> AsyncIterator[Replica]:
    async with replica_on(stores, backend) as replica:
        yield replica


def run_stray(backend: InstantBackend, labels: Mapping[str, str] | None = None) -> None:
    """Something runs that no record tells of."""
    template = Template()
    spec = SandboxSpec(sandbox_id=STRAY.sandbox_id, template=template, limits=template.limits)
    backend.running[STRAY.sandbox_id] = spec
    backend.labels[STRAY.sandbox_id] = dict(labels or {})


async def test_an_orphan_gets_the_grace_of_one_round(replica: Replica, backend: PlaysCells) -> None:
    run_stray(backend)
    await replica.reaper.reap()
    assert STRAY.sandbox_id in backend.running
    await replica.reaper.reap()
    assert backend.running == {}


async def test_what_has_a_purpose_of_its_own_gets_the_time_for_it(
    replica: Replica, backend: PlaysCells
) -> None:
    """The sandbox that is started to be measured belongs to no session, on whichever replica."""
    run_stray(backend, {PURPOSE: "posture"})
    for _ in range(8):
        await replica.reaper.reap()
        replica.clock.advance(11)
    assert STRAY.sandbox_id in backend.running
    replica.clock.advance(11)
    await replica.reaper.reap()
    assert backend.running == {}


async def test_an_orphan_whose_record_came_in_time_stays(
    replica: Replica, backend: PlaysCells
) -> None:
    run_stray(backend)
    await replica.reaper.reap()
    await replica.stores.sessions.create(session_record(replica.clock, sandbox=STRAY))
    for _ in range(3):
        await replica.reaper.reap()
    assert STRAY.sandbox_id in backend.running


async def test_at_a_start_alone_there_is_no_grace(replica: Replica, backend: PlaysCells) -> None:
    run_stray(backend)
    await replica.reaper.settle_all()
    await replica.reaper.stop_left_over()
    assert backend.running == {}


@pytest.mark.parametrize("status", [SessionStatus.CLOSED, SessionStatus.EXPIRED])
async def test_the_sandbox_of_an_ended_session_is_an_orphan(
    replica: Replica, backend: PlaysCells, status: SessionStatus
) -> None:
    """Its stop had failed, or the replica that was to stop it is gone."""
    run_stray(backend)
    ended = session_record(replica.clock, sandbox=STRAY, status=status)
    await replica.stores.sessions.create(ended)
    for _ in range(2):
        await replica.reaper.reap()
    assert backend.running == {}


async def test_what_is_warm_or_being_made_is_no_orphan(stores: Stores, backend: PlaysCells) -> None:
    async with replica_on(stores, backend, pool_size=PoolSize(1, 1)) as replica:
        run_stray(backend)
        await stores.pool.add("python", STRAY)
        starting = SandboxRef(sandbox_id="box_starting")
        backend.running[starting.sandbox_id] = backend.running[STRAY.sandbox_id]
        await stores.sessions.create(session_record(replica.clock, starting=starting))
        for _ in range(3):
            await replica.reaper.reap()
        assert set(backend.running) == {STRAY.sandbox_id, starting.sandbox_id}


async def test_a_warm_sandbox_that_is_gone_is_taken_out_of_the_pool(
    stores: Stores, backend: PlaysCells
) -> None:
    async with replica_on(stores, backend, pool_size=PoolSize(1, 1)) as replica:
        await stores.pool.add("python", STRAY)
        await replica.reaper.reap()
        assert await stores.pool.ready("python") == []


async def opening(replica: Replica, opener: str) -> SessionRecord:
    """An opening that has come as far as a sandbox that is being made."""
    run_stray(replica.backend)
    record = session_record(
        replica.clock, status=SessionStatus.STARTING, starting=STRAY, opener=opener
    )
    await replica.quotas.claim(TENANT, Held.SESSIONS, record.id)
    return await replica.stores.sessions.create(record)


async def test_an_opening_whose_replica_is_gone_is_undone(
    replica: Replica, backend: PlaysCells
) -> None:
    record = await opening(replica, opener="rep_gone")
    await replica.reaper.reap()
    assert backend.running == {}
    assert await replica.stores.sessions.get(record.id) is None
    assert replica.quotas.held(TENANT, Held.SESSIONS) == 0


async def test_an_opening_of_a_live_replica_goes_on(replica: Replica, backend: PlaysCells) -> None:
    record = await opening(replica, opener=replica.stores.replicas.id)
    for _ in range(3):
        await replica.reaper.reap()
    assert STRAY.sandbox_id in backend.running
    assert await replica.stores.sessions.get(record.id) == record


async def test_a_session_whose_sandbox_is_gone_is_lost(
    replica: Replica, backend: PlaysCells
) -> None:
    session = await replica.open()
    backend.running.clear()
    await replica.reaper.reap()
    ended = await replica.sessions.get(TENANT, session.id)
    assert ended.status is SessionStatus.LOST
    assert replica.quotas.held(TENANT, Held.SESSIONS) == 0
    assert len(replica.audit.of("session.lost")) == 1


async def test_while_something_runs_the_worker_finds_out_by_itself(
    replica: Replica, backend: PlaysCells
) -> None:
    """It may know that memory took the sandbox, and go on with a new one."""
    session = await replica.open()
    await running(replica, session)
    spec = backend.running.pop(session.sandbox.sandbox_id)
    await replica.reaper.reap()
    assert (await replica.sessions.get(TENANT, session.id)).status is SessionStatus.READY
    backend.running[spec.sandbox_id] = spec


async def test_an_engine_that_does_not_answer_ends_nothing(
    replica: Replica, backend: PlaysCells, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def find() -> Sequence[SandboxRef]:
        raise EngineUnavailable("The engine is away.")

    session = await replica.open()
    monkeypatch.setattr(backend, "find", find)
    with pytest.raises(EngineUnavailable):
        await replica.reaper.reap()
    assert (await replica.sessions.get(TENANT, session.id)).status is SessionStatus.READY


async def test_quotas_are_what_is_really_held(replica: Replica, backend: PlaysCells) -> None:
    """As after a start: this process knows of nothing, and the one before gave nothing back."""
    session = await replica.open()
    await running(replica, session)
    await replica.submit(session)
    for held, holder in ((Held.SESSIONS, "sess_gone"), (Held.EXECUTIONS, "exec_gone")):
        await replica.quotas.claim(TENANT, held, holder)
    replica.quotas.release(TENANT, Held.SESSIONS, session.id)
    await replica.reaper.settle_all()
    await replica.reaper.stop_left_over()
    assert replica.quotas.held(TENANT, Held.SESSIONS) == 1
    assert replica.quotas.held(TENANT, Held.EXECUTIONS) == 2


async def test_a_claim_that_is_young_is_not_settled_away(replica: Replica) -> None:
    await replica.quotas.claim(TENANT, Held.SESSIONS, "sess_young")
    await replica.reaper.reap()
    assert replica.quotas.held(TENANT, Held.SESSIONS) == 1
    replica.clock.advance(61)
    await replica.reaper.reap()
    assert replica.quotas.held(TENANT, Held.SESSIONS) == 0


class OtherLeads:
    """Replicas of which another one has every right."""

    id = "rep_b"

    async def acquire(self, name: str) -> Lease | None:
        return None


class StoreIsAway(OtherLeads):
    async def acquire(self, name: str) -> Lease | None:
        raise StoreUnavailable("The store is away.")


@pytest.mark.parametrize("replicas", [OtherLeads(), StoreIsAway()])
async def test_only_the_leader_reaps(
    replica: Replica, backend: PlaysCells, replicas: OtherLeads
) -> None:
    run_stray(backend)
    replica.reaper._leader = Leader(replicas)  # type: ignore[arg-type]
    for _ in range(3):
        await replica.reaper.reap()
    assert STRAY.sandbox_id in backend.running


async def test_who_comes_to_lead_gives_orphans_their_grace_again(
    replica: Replica, backend: PlaysCells
) -> None:
    run_stray(backend)
    leader = replica.reaper._leader
    await replica.reaper.reap()
    replica.reaper._leader = Leader(OtherLeads())  # type: ignore[arg-type]
    await replica.reaper.reap()
    replica.reaper._leader = leader
    await replica.reaper.reap()
    assert STRAY.sandbox_id in backend.running


async def test_a_leader_leads_until_it_resigns(stores: Stores) -> None:
    leader = Leader(stores.replicas)
    first = [await leader.leads() for _ in range(2)]
    held = await stores.replicas.acquire("housekeeping")
    await leader.resign()
    await leader.resign()
    assert first == [True, True]
    assert (await stores.replicas.acquire("housekeeping")).token > held.token
