"""What every WorkQueues promises; over Redis, between replicas too."""

import asyncio

import pytest

from sandbox_service.domain.errors import LeaseLost
from sandbox_service.domain.stores import Lease, Stores
from sandbox_service.domain.values import SessionRecord
from tests.contract.store_fixtures import (
    BOUNDS,
    StoreHouse,
    accepted,
    as_ok,
    as_running,
    beat_for,
    completed,
    opened_session,
    run_to_end,
)

TTL_S = BOUNDS.lease_ttl_s


@pytest.fixture
async def session(stores: Stores, storehouse: StoreHouse) -> SessionRecord:
    return await opened_session(stores, storehouse.clock)


@pytest.fixture
async def shared(replicas: tuple[Stores, Stores], redis_house: StoreHouse) -> SessionRecord:
    """A session that both replicas serve."""
    return await opened_session(replicas[0], redis_house.clock)


async def test_executions_come_to_the_head_in_order(stores, session):
    first, lease = await accepted(stores, session.id, 1)
    second, _ = await accepted(stores, session.id, 2)
    assert await stores.work.waiting(session.id) == [first.id, second.id]
    assert await stores.work.head(lease) == first
    running = as_running(first)
    await stores.journals.write(lease, running, [])
    assert await stores.work.head(lease) == running
    await run_to_end(stores, lease, first)
    assert await stores.work.head(lease) == second
    assert await stores.work.waiting(session.id) == [second.id]


async def test_the_right_is_given_back_at_the_end_of_the_queue(stores, session):
    record, lease = await accepted(stores, session.id, 1)
    await run_to_end(stores, lease, record)
    assert await stores.work.head(lease) is None
    with pytest.raises(LeaseLost):
        await stores.work.head(lease)
    _, next_lease = await accepted(stores, session.id, 2)
    assert next_lease.token > lease.token


async def test_what_is_accepted_before_the_right_is_given_back_comes_to_the_head(stores, session):
    """Between the end of one and the question for the next there is no gap to fall into."""
    record, lease = await accepted(stores, session.id, 1)
    await run_to_end(stores, lease, record)
    second, granted = await accepted(stores, session.id, 2)
    assert granted is None
    assert await stores.work.head(lease) == second


async def test_who_was_seized_from_has_lost_the_right(stores, session):
    record, lease = await accepted(stores, session.id)
    seized = await stores.work.seize(session.id)
    assert seized.token > lease.token
    with pytest.raises(LeaseLost):
        await stores.work.head(lease)
    with pytest.raises(LeaseLost):
        await stores.journals.write(lease, as_ok(record), [completed(1, as_ok(record))])
    await stores.work.give_up(lease)
    assert await stores.work.head(seized) == record
    assert await stores.executions.get(session.id, record.id) == record


async def test_a_queue_without_work_can_be_seized(stores, session):
    lease = await stores.work.seize(session.id)
    assert await stores.work.head(lease) is None


async def test_what_was_given_up_is_taken_over_with_its_queue(stores, session):
    record, lease = await accepted(stores, session.id)
    await stores.work.give_up(lease)
    (taken,) = await stores.work.take_over()
    assert taken.token > lease.token
    assert await stores.work.head(taken) == record
    with pytest.raises(LeaseLost):
        await stores.work.head(lease)


async def test_what_is_being_worked_on_is_not_taken_over(stores, session):
    _, lease = await accepted(stores, session.id)
    assert await stores.work.take_over() == []
    assert await stores.work.head(lease) is not None


async def test_an_empty_queue_is_not_taken_over(stores, session):
    record, lease = await accepted(stores, session.id)
    await run_to_end(stores, lease, record)
    await stores.work.give_up(lease)
    assert await stores.work.take_over() == []


async def test_the_next_process_takes_over_what_a_killed_one_ran(storehouse: StoreHouse):
    """Over Redis after the lease's time, because nobody could know before."""
    async with storehouse.opened() as stores:
        await stores.replicas.beat()
        session = await opened_session(stores, storehouse.clock)
        record, _ = await accepted(stores, session.id)
    async with storehouse.opened() as stores:
        if storehouse.kind == "redis":
            await stores.replicas.beat()
            assert await stores.work.take_over() == []
            await beat_for(1.5 * TTL_S, stores)
        (lease,) = await stores.work.take_over()
        assert await stores.work.head(lease) == record


async def test_a_living_replicas_work_is_left_to_it(replicas, shared):
    first, second = replicas
    record, lease = await accepted(first, shared.id, 1)
    _, granted = await accepted(second, shared.id, 2)
    assert granted is None
    await beat_for(1.5 * TTL_S, first, second)
    assert await second.work.take_over() == []
    assert await first.work.head(lease) == record


async def test_a_dead_replicas_work_is_taken_over_once(replicas, shared):
    first, second = replicas
    record, lease = await accepted(first, shared.id)
    await beat_for(1.5 * TTL_S, second)
    taken = await asyncio.gather(*(second.work.take_over() for _ in range(5)))
    (new,) = [lease for leases in taken for lease in leases]
    assert await second.work.head(new) == record
    with pytest.raises(LeaseLost):
        await first.work.head(lease)
    with pytest.raises(LeaseLost):
        await first.journals.write(lease, as_ok(record), [])


async def test_a_dead_replicas_right_comes_with_the_next_execution(replicas, shared):
    first, second = replicas
    record, lease = await accepted(first, shared.id, 1)
    await beat_for(1.5 * TTL_S, second)
    _, granted = await accepted(second, shared.id, 2)
    assert granted.token > lease.token
    assert await second.work.head(granted) == record


async def test_who_has_just_begun_to_beat_takes_from_nobody(replicas, shared):
    """When Redis was away, everybody's heartbeat is gone, and everybody lives."""
    first, second = replicas
    record, lease = await accepted(first, shared.id, 1)
    await asyncio.sleep(1.2 * TTL_S)
    await second.replicas.beat()
    assert await second.work.take_over() == []
    assert (await accepted(second, shared.id, 2))[1] is None
    await beat_for(1.5 * TTL_S, first, second)
    assert await second.work.take_over() == []
    assert await first.work.head(lease) == record


async def test_a_replica_that_did_not_beat_takes_from_nobody(replicas, shared):
    """It was stopped, and wakes: it must hear its own heart before it judges others."""
    first, second = replicas
    await beat_for(1.5 * TTL_S, second)
    await accepted(first, shared.id)
    await asyncio.sleep(1.2 * TTL_S)
    assert await second.work.take_over() == []
    await second.replicas.beat()
    assert await second.work.take_over() == []


async def test_what_a_replica_that_left_had_is_taken_over_at_once(replicas, shared):
    first, second = replicas
    record, _ = await accepted(first, shared.id)
    await beat_for(1.5 * TTL_S, first, second)
    await first.replicas.leave()
    (lease,) = await second.work.take_over()
    assert await second.work.head(lease) == record


async def test_a_cancelled_accept_leaves_no_queue_that_nobody_works_on(replicas, shared):
    """However far it came: refused, or queued with a right that somebody gets to hear of."""
    first, _ = replicas
    known: list[Lease] = []
    for number in range(60):
        task = asyncio.create_task(accepted(first, shared.id, number))
        await asyncio.sleep(number * 0.00002)
        task.cancel()
        result = (await asyncio.gather(task, return_exceptions=True))[0]
        known += [result[1]] if isinstance(result, tuple) and result[1] else []
    await asyncio.sleep(0.05)
    known += await first.work.take_over()
    assert len(known) == (1 if await first.work.waiting(shared.id) else 0)
