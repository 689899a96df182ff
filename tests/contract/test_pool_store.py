"""What every PoolStore promises."""

import asyncio

import pytest

from sandbox_service.domain.stores import Demand
from sandbox_service.domain.values import SandboxRef
from tests.contract.store_fixtures import StoreHouse


def ref(number: int) -> SandboxRef:
    return SandboxRef(sandbox_id=f"box_{number}", engine_id="e", uid=number, labels={"a": "b"})


async def test_sandboxes_are_taken_in_the_order_they_came(stores):
    for number in range(3):
        await stores.pool.add("python", ref(number))
    assert await stores.pool.ready("python") == [ref(0), ref(1), ref(2)]
    assert [await stores.pool.take("python") for _ in range(4)] == [ref(0), ref(1), ref(2), None]
    assert await stores.pool.ready("python") == []


async def test_each_template_has_its_own(stores):
    await stores.pool.add("python", ref(1))
    assert await stores.pool.take("other") is None
    assert await stores.pool.take("python") == ref(1)


async def test_a_sandbox_is_given_to_one_of_many_who_take(stores):
    for number in range(20):
        await stores.pool.add("python", ref(number))
    taken = await asyncio.gather(*(stores.pool.take("python") for _ in range(40)))
    ids = [sandbox.sandbox_id for sandbox in taken if sandbox]
    assert sorted(ids) == sorted(ref(number).sandbox_id for number in range(20))


async def test_a_sandbox_that_is_added_again_is_given_out_once(stores):
    """The answer to the first call was lost."""
    await stores.pool.add("python", ref(1))
    await stores.pool.add("python", ref(1))
    assert await stores.pool.take("python") == ref(1)
    assert await stores.pool.take("python") is None


async def test_a_pool_that_was_never_asked_has_no_demand(stores):
    assert await stores.pool.demand("python", 60) == Demand(0, None)


async def test_demand_counts_the_claims_of_late(stores, storehouse: StoreHouse):
    await stores.pool.note_claim("python")
    await storehouse.pass_time(0.2)
    await stores.pool.note_claim("python")
    await stores.pool.note_claim("python")
    await storehouse.pass_time(0.05)
    assert (await stores.pool.demand("python", 60)).claims == 3
    late = await stores.pool.demand("python", 0.15)
    assert late.claims == 2
    assert late.last_age_s == pytest.approx(0.05, abs=0.04)
    assert (await stores.pool.demand("other", 60)).claims == 0


async def test_the_claims_that_are_counted_are_bounded(stores):
    for _ in range(22):
        await asyncio.gather(*(stores.pool.note_claim("python") for _ in range(50)))
    assert (await stores.pool.demand("python", 60)).claims == 1000


async def test_the_next_process_finds_the_pool(storehouse: StoreHouse):
    async with storehouse.opened() as stores:
        for number in range(3):
            await stores.pool.add("python", ref(number))
        await stores.pool.take("python")
    async with storehouse.opened() as stores:
        assert await stores.pool.ready("python") == [ref(1), ref(2)]
