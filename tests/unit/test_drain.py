"""The end of a process as its callers see it: not ready, then told where to go on; what runs goes on."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass

import httpx
import pytest

from sandbox_service.api.drain import Drain
from sandbox_service.domain.errors import ShuttingDown
from sandbox_service.domain.values import SessionStatus
from tests.support.turns import others_run
from tests.unit.fakes.api_fakes import Caller, Cell, World, small_settings


@dataclass
class Desk:
    """A world with one open session and a client at it; the code `held` does not end by itself."""

    world: World
    client: httpx.AsyncClient
    session_id: str

    @property
    def drain(self) -> Drain:
        return self.world.pace.drain

    @property
    def url(self) -> str:
        return f"/v1/sessions/{self.session_id}/executions"

    def caller(self, path: str | None = None, **body: object) -> Caller:
        app = self.client._transport.app  # type: ignore[attr-defined]
        sent = json.dumps({"code": "held", **body}).encode()
        return Caller(app, "POST", path or self.url, body=[sent])


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    world = World(small_settings())
    async with world.client(world.app()) as client:
        session_id = (await client.post("/v1/sessions", json={})).json()["id"]
        world.executions.cells["held"] = Cell(is_held=True)
        yield Desk(world, client, session_id)


async def waiting(desk: Desk) -> None:
    """Return when somebody waits."""
    async with asyncio.timeout(60):
        while not desk.drain.has_waiting:
            await asyncio.sleep(0)


async def test_readiness_drops_first_and_everything_else_goes_on(desk: Desk) -> None:
    assert (await desk.client.get("/readyz")).status_code == 200
    desk.drain.begin()
    answer = await desk.client.get("/readyz")
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "shutting_down")
    assert answer.headers["retry-after"] == "1"
    assert (await desk.client.get("/healthz")).status_code == 200
    ran = await desk.client.post(desk.url, json={"code": "1"})
    assert ran.json()["status"] == "ok"


async def test_who_waits_for_a_result_is_told_to_ask_again(desk: Desk) -> None:
    async with desk.caller() as caller:
        await waiting(desk)
        desk.drain.begin()
        await others_run()
        assert not caller.has_more()
        desk.drain.end()
        start = await caller.next()
        assert start["status"] == 503
        assert (b"retry-after", b"1") in start["headers"]
        assert json.loads(await caller.next_text())["error"]["code"] == "shutting_down"
    assert not desk.drain.has_waiting
    assert desk.world.executions.cancelled == []


@pytest.mark.parametrize("asked", [True, False])
async def test_who_comes_after_the_end_is_told_so_at_once(desk: Desk, asked: bool) -> None:
    desk.drain.end()
    body = {"code": "held", "cancel_on_disconnect": asked}
    answer = await desk.client.post(desk.url, json=body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "shutting_down")
    assert desk.world.executions.cancelled == []


async def test_a_stream_ends_with_a_word_on_where_to_go_on(desk: Desk) -> None:
    async with desk.caller(stream=True, cancel_on_disconnect=True) as caller:
        assert (await caller.next())["status"] == 200
        await waiting(desk)
        desk.drain.end()
        while (text := await caller.next_text()).startswith(":"):
            pass
        event, data = text.rstrip().split("\n")
        assert event == "event: stream.interrupted"
        [execution_id] = desk.world.executions.journals
        assert json.loads(data.removeprefix("data: ")) == {
            "reason": "shutting_down",
            "last_event_id": 0,
            "events_url": f"{desk.url}/{execution_id}/events",
        }
        await asyncio.wait_for(caller.task, 60)
    assert desk.world.executions.cancelled == [], "a stop is no hang-up of the caller's"


async def test_the_word_names_the_last_event_that_was_sent(desk: Desk) -> None:
    cell = desk.world.executions.cells["held"]
    async with desk.caller(stream=True) as caller:
        await caller.next()
        cell.release.set()
        while "id: 2" not in await caller.next_text():
            pass
        cell.release.clear()
    execution_id = next(iter(desk.world.executions.journals))
    app = desk.client._transport.app  # type: ignore[attr-defined]
    headers = {"last-event-id": "2"}
    path = f"{desk.url}/{execution_id}/events"
    async with Caller(app, "GET", path, headers=headers) as caller:
        await caller.next()
        await waiting(desk)
        desk.drain.end()
        while (text := await caller.next_text()).startswith(":"):
            pass
        assert '"last_event_id":2' in text


async def test_one_call_with_a_key_finds_its_session_again(desk: Desk) -> None:
    """Without a key nobody could: the session that the call opened is closed."""
    app = desk.client._transport.app  # type: ignore[attr-defined]
    for headers in ({"idempotency-key": "k"}, {}):
        body = [json.dumps({"code": "held"}).encode()]
        async with Caller(app, "POST", "/v1/executions", headers=headers, body=body) as caller:
            await waiting(desk)
            desk.drain.end()
            assert (await caller.next())["status"] == 503
        desk.drain.has_ended = False
    *_, with_key, without = desk.world.sessions.records.values()
    assert (with_key.status, without.status) == (SessionStatus.READY, SessionStatus.CLOSED)


async def test_a_block_that_ends_in_time_hears_nothing() -> None:
    drain = Drain()
    async with drain.until_ended():
        assert drain.has_waiting
    drain.end()
    assert not drain.has_waiting


async def test_a_blocks_own_timeout_is_its_own() -> None:
    drain = Drain()
    with pytest.raises(TimeoutError):
        async with drain.until_ended():
            raise TimeoutError
    with pytest.raises(TimeoutError):
        async with drain.until_ended(), asyncio.timeout(0):
            await asyncio.sleep(5)
    assert not drain.has_waiting


async def test_a_cancelled_block_is_cancelled_and_not_told_to_come_back() -> None:
    drain = Drain()

    async def block() -> None:
        async with drain.until_ended():
            await asyncio.sleep(5)

    task = asyncio.create_task(block())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not drain.has_waiting


async def test_all_who_wait_are_told_at_the_same_time() -> None:
    drain = Drain()

    async def block() -> None:
        async with drain.until_ended():
            await asyncio.sleep(5)

    tasks = [asyncio.create_task(block()) for _ in range(20)]
    await asyncio.sleep(0)
    drain.end()
    results = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 60)
    assert all(isinstance(result, ShuttingDown) for result in results)
