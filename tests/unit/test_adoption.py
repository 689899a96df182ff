"""A session whose record the store has lost is taken from its sandbox's label, and from nothing less."""

from collections.abc import AsyncIterator, Mapping

import pytest

from sandbox_service.domain.errors import StoreUnavailable
from sandbox_service.domain.requests import UpdateSession
from sandbox_service.domain.stores import SessionQuery
from sandbox_service.domain.tenancy import Held
from sandbox_service.domain.values import SandboxRef, SessionRecord, SessionStatus
from sandbox_service.sessions.adoption import LABEL, Adoption
from sandbox_service.store.bounds import StoreBounds
from sandbox_service.store.memory import open_memory_stores
from tests.support.fakes import PlaysCells, SteppedClock, session_record
from tests.unit.fakes.replica import TENANT, Replica, replica_on

REF = SandboxRef(sandbox_id="box_a")


@pytest.fixture
async def replica() -> AsyncIterator[Replica]:
    """A service whose store holds nothing."""
    with open_memory_stores(StoreBounds()) as stores:
        async with replica_on(stores, PlaysCells()) as replica:
            yield replica


async def loses_its_store(replica: Replica) -> None:
    for record in await replica.stores.sessions.list(SessionQuery()):
        await replica.stores.sessions.delete(record.id)


async def test_a_session_comes_back_with_what_it_was_opened_and_changed_with(
    replica: Replica,
) -> None:
    session = await replica.open()
    changed = await replica.sessions.update(
        TENANT, session.id, UpdateSession(idle_ttl_s=90, metadata={"a": "b"})
    )
    await replica.sessions.restart(TENANT, session.id)
    await loses_its_store(replica)
    await replica.reaper.settle_all()
    back = await replica.sessions.get(TENANT, session.id)
    assert (back.status, back.idle_ttl_s, back.metadata) == (SessionStatus.READY, 90, {"a": "b"})
    assert (back.created_at, back.limits) == (changed.created_at, changed.limits)
    assert (back.epoch, back.incarnation) == (2, 2)
    done = await replica.wait(await replica.submit(back))
    assert (done.status, done.kernel.epoch) == ("ok", 2)


async def test_its_quota_is_counted_again(replica: Replica) -> None:
    session = await replica.open()
    await loses_its_store(replica)
    replica.quotas.release(TENANT, Held.SESSIONS, session.id)
    await replica.reaper.settle_all()
    assert replica.quotas.held(TENANT, Held.SESSIONS) == 1


def labelled(record: SessionRecord | None) -> Mapping[str, str]:
    return {} if record is None else {LABEL: record.model_dump_json()}


CLOCK = SteppedClock()
LEFT_OVER = {
    "no label": (labelled(None), REF),
    "no record": ({LABEL: "{"}, REF),
    "a record of tomorrow": ({LABEL: '{"id": "sess_a", "colour": 1}'}, REF),
    "another sandbox's record": (labelled(session_record(CLOCK, sandbox=REF)), "box_b"),
    "a record without a sandbox": (labelled(session_record(CLOCK)), REF),
    "an ended session": (
        labelled(session_record(CLOCK, sandbox=REF, status=SessionStatus.CLOSED)),
        REF,
    ),
    "a session past its age": (labelled(session_record(CLOCK, sandbox=REF, max_age_s=0)), REF),
}


@pytest.mark.parametrize("case", LEFT_OVER)
async def test_anything_less_is_left_over(replica: Replica, case: str) -> None:
    labels, of = LEFT_OVER[case]
    ref = of if isinstance(of, SandboxRef) else SandboxRef(sandbox_id=of)
    assert not await replica.adoption.adopt(ref.model_copy(update={"labels": dict(labels)}))


async def test_a_sandbox_that_does_not_run_is_left_over(replica: Replica) -> None:
    record = session_record(replica.clock, sandbox=REF)
    exited = {"labels": dict(labelled(record)), "is_running": False}
    assert not await replica.adoption.adopt(REF.model_copy(update=exited))


@pytest.mark.parametrize("status", [SessionStatus.CLOSED, SessionStatus.READY])
async def test_what_the_store_knows_counts_more_than_a_label(
    replica: Replica, status: SessionStatus
) -> None:
    """A session that ended is not brought back by a sandbox whose stop failed."""
    record = session_record(replica.clock, sandbox=REF)
    known = await replica.stores.sessions.create(record.model_copy(update={"status": status}))
    assert not await replica.adoption.adopt(
        REF.model_copy(update={"labels": dict(labelled(record))})
    )
    assert await replica.stores.sessions.get(record.id) == known


async def test_while_the_store_is_away_nothing_is_called_left_over(replica: Replica) -> None:
    class StoreIsAway:
        async def get(self, session_id: str) -> SessionRecord | None:
            raise StoreUnavailable("The store is away.")

    adoption = Adoption(StoreIsAway(), replica.backend, replica.clock)  # type: ignore[arg-type]
    labels = dict(labelled(session_record(replica.clock, sandbox=REF)))
    assert await adoption.adopt(REF.model_copy(update={"labels": labels}))


async def test_without_room_for_a_label_the_session_opens_all_the_same(
    replica: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def label(ref: SandboxRef, labels: Mapping[str, str]) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(replica.backend, "label", label)
    assert (await replica.open()).status is SessionStatus.READY
