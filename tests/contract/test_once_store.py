"""What every OnceStore promises."""

import asyncio

from sandbox_service.domain.stores import OnceEntry
from tests.contract.store_fixtures import StoreHouse


async def test_a_key_keeps_what_it_first_came_with(stores):
    first = await stores.once.begin("a", "key", "body", {"sess": "sess_1"})
    assert first == OnceEntry("body", {"sess": "sess_1"}, is_done=False)
    assert await stores.once.begin("a", "key", "other", {"sess": "sess_2"}) == first


async def test_of_fifty_at_once_all_get_the_same_ids(stores):
    begun = await asyncio.gather(
        *(stores.once.begin("a", "key", "body", {"sess": f"sess_{n}"}) for n in range(50))
    )
    assert len({entry.ids["sess"] for entry in begun}) == 1


async def test_keys_of_tenants_do_not_meet(stores):
    """Not even when one's name ends as the other's key begins."""
    await stores.once.begin("a", "b:key", "1", {})
    await stores.once.begin("a:b", "key", "2", {})
    await stores.once.begin("b", "b:key", "3", {})
    assert (await stores.once.begin("a", "b:key", "", {})).fingerprint == "1"
    assert (await stores.once.begin("a:b", "key", "", {})).fingerprint == "2"


async def test_what_is_done_stays_done(stores):
    await stores.once.begin("a", "key", "body", {"sess": "sess_1"})
    await stores.once.done("a", "key")
    await stores.once.done("a", "key")
    again = await stores.once.begin("a", "key", "body", {})
    assert again == OnceEntry("body", {"sess": "sess_1"}, is_done=True)


async def test_what_was_never_begun_is_not_done(stores):
    await stores.once.done("a", "key")
    assert not (await stores.once.begin("a", "key", "body", {})).is_done


async def test_a_key_that_was_given_back_is_free(stores):
    """Once: whoever took it next does not lose it by the same word said again."""
    refused = await stores.once.begin("a", "key", "body", {})
    for _ in range(2):
        await stores.once.give_back("a", "key", refused)
        assert (await stores.once.begin("a", "key", "other", {})).fingerprint == "other"


async def test_a_key_under_which_the_same_request_came_twice_is_kept(stores):
    """One of them may have taken effect; a request that differs is no reason to keep it."""
    refused = await stores.once.begin("a", "twice", "body", {"sess": "sess_1"})
    await stores.once.begin("a", "twice", "body", {"sess": "sess_2"})
    await stores.once.give_back("a", "twice", refused)
    assert (await stores.once.begin("a", "twice", "body", {})).ids == {"sess": "sess_1"}
    refused = await stores.once.begin("a", "differs", "body", {})
    await stores.once.begin("a", "differs", "other", {})
    await stores.once.give_back("a", "differs", refused)
    assert (await stores.once.begin("a", "differs", "other", {})).fingerprint == "other"


async def test_the_content_that_was_done_first_is_told(stores):
    await stores.once.begin("a", "key", "body", {})
    await stores.once.done("a", "key", "digest")
    await stores.once.done("a", "key", "another")
    again = await stores.once.begin("a", "key", "body", {})
    assert (again.is_done, again.content) == (True, "digest")


async def test_a_key_is_free_after_its_retention_done_or_not(storehouse: StoreHouse):
    async with storehouse.opened(once_retention_s=0.2) as stores:
        await stores.once.begin("a", "done", "body", {})
        await stores.once.done("a", "done")
        await stores.once.begin("a", "begun", "body", {})
        await storehouse.pass_time(0.1)
        assert (await stores.once.begin("a", "done", "other", {})).fingerprint == "body"
        await storehouse.pass_time(0.15)
        for key in ("done", "begun"):
            entry = await stores.once.begin("a", key, "other", {})
            assert entry == OnceEntry("other", {}, is_done=False)


async def test_the_next_process_knows_the_keys(storehouse: StoreHouse):
    async with storehouse.opened() as stores:
        await stores.once.begin("a", "done", "body", {"sess": "sess_1"})
        await stores.once.done("a", "done")
        await stores.once.begin("a", "begun", "body", {"sess": "sess_2"})
        refused = await stores.once.begin("a", "given back", "body", {})
        await stores.once.give_back("a", "given back", refused)
    async with storehouse.opened() as stores:
        done = await stores.once.begin("a", "done", "body", {})
        assert done == OnceEntry("body", {"sess": "sess_1"}, is_done=True)
        begun = await stores.once.begin("a", "begun", "body", {})
        assert begun == OnceEntry("body", {"sess": "sess_2"}, is_done=False)
        assert (await stores.once.begin("a", "given back", "new", {})).fingerprint == "new"


async def test_of_too_many_keys_a_tenants_oldest_are_forgotten(storehouse: StoreHouse):
    """Another tenant's are not; and what was given back does not count."""
    async with storehouse.opened(once_keys=3) as stores:
        await stores.once.begin("b", "theirs", "body", {})
        for number in range(5):
            refused = await stores.once.begin("a", f"refused {number}", "body", {})
            await stores.once.give_back("a", f"refused {number}", refused)
            await stores.once.begin("a", f"key {number}", "body", {})
    async with storehouse.opened(once_keys=3) as stores:
        known = [await stores.once.begin("a", f"key {number}", "x", {}) for number in (4, 3, 2)]
        assert [entry.fingerprint for entry in known] == ["body"] * 3
        assert (await stores.once.begin("b", "theirs", "x", {})).fingerprint == "body"
        for number in (0, 1):
            assert (await stores.once.begin("a", f"key {number}", "x", {})).fingerprint == "x"
