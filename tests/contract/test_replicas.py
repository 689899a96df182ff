"""What every Replicas promises; over Redis, between several."""

import asyncio

from sandbox_service.store.redis import RedisConnection, prefix_of
from tests.contract.store_fixtures import BOUNDS, StoreHouse, beat_for

TTL_S = BOUNDS.lease_ttl_s


async def test_a_replica_lives_for_itself(stores):
    await stores.replicas.beat()
    assert stores.replicas.id in await stores.replicas.alive()


async def test_each_start_is_another_replica(storehouse: StoreHouse):
    ids = set()
    for _ in range(2):
        async with storehouse.opened() as stores:
            ids.add(stores.replicas.id)
    assert len(ids) == 2


async def test_a_right_that_is_ours_is_the_same_lease_again(stores):
    await stores.replicas.beat()
    lease = await stores.replicas.acquire("housekeeping")
    assert lease is not None
    assert await stores.replicas.acquire("housekeeping") == lease


async def test_a_right_that_was_released_is_granted_anew(stores):
    await stores.replicas.beat()
    lease = await stores.replicas.acquire("housekeeping")
    await stores.replicas.release(lease)
    later = await stores.replicas.acquire("housekeeping")
    assert later.token > lease.token
    await stores.replicas.release(lease)
    assert await stores.replicas.acquire("housekeeping") == later


async def test_tokens_rise_over_all_names(stores):
    tokens = [(await stores.replicas.acquire(name)).token for name in "abc"]
    tokens.append((await stores.work.seize("sess_a")).token)
    assert tokens == sorted(set(tokens))


async def test_one_of_two_replicas_has_a_right(replicas):
    first, second = replicas
    leases = await asyncio.gather(
        *(stores.replicas.acquire("housekeeping") for stores in (first, second, first, second))
    )
    assert {lease for lease in leases if lease} == {leases[0] or leases[1]}
    assert (leases[0] is None) != (leases[1] is None)


async def test_the_right_of_a_dead_replica_is_granted_to_another(replicas):
    first, second = replicas
    lease = await first.replicas.acquire("housekeeping")
    await beat_for(1.5 * TTL_S, first, second)
    assert await second.replicas.acquire("housekeeping") is None
    await beat_for(1.2 * TTL_S, second)
    taken = await second.replicas.acquire("housekeeping")
    assert taken.token > lease.token
    await first.replicas.beat()
    assert await first.replicas.acquire("housekeeping") is None
    await first.replicas.release(lease)
    assert await second.replicas.acquire("housekeeping") == taken


async def test_the_dead_are_not_alive_the_living_are(replicas):
    first, second = replicas
    await beat_for(1.2 * TTL_S, first, second)
    both = {first.replicas.id, second.replicas.id}
    assert await second.replicas.alive() == both
    await beat_for(1.2 * TTL_S, second)
    assert await second.replicas.alive() == {second.replicas.id}


async def test_who_has_just_begun_to_beat_calls_nobody_dead(replicas):
    """When Redis was away, everybody's heartbeat is gone, and everybody lives."""
    first, second = replicas
    await asyncio.sleep(1.2 * TTL_S)
    await second.replicas.beat()
    assert first.replicas.id in await second.replicas.alive()
    await beat_for(1.5 * TTL_S, second)
    assert first.replicas.id not in await second.replicas.alive()


async def emptied(connection: RedisConnection, house: StoreHouse) -> None:
    keys = await connection.command("KEYS", prefix_of(house.instance) + "*")
    await connection.command("DEL", *keys)


async def test_who_knew_of_others_knows_them_when_redis_was_emptied(
    replicas, redis_house, redis_connection
):
    first, second = replicas
    await beat_for(1.2 * TTL_S, first, second)
    await second.replicas.alive()
    await emptied(redis_connection, redis_house)
    await second.replicas.beat()
    assert first.replicas.id in await second.replicas.alive()


async def test_tokens_rise_also_when_redis_was_emptied(replicas, redis_house, redis_connection):
    first, _ = replicas
    lease = await first.replicas.acquire("housekeeping")
    await emptied(redis_connection, redis_house)
    assert (await first.replicas.acquire("housekeeping")).token > lease.token


async def test_who_left_is_not_alive_and_has_nothing(replicas):
    first, second = replicas
    await beat_for(1.2 * TTL_S, first, second)
    await first.replicas.acquire("housekeeping")
    await first.replicas.leave()
    assert await second.replicas.alive() == {second.replicas.id}
    assert await second.replicas.acquire("housekeeping") is not None
