"""Idempotency-Key: the same request takes effect once, another one under the same key is refused."""

import asyncio
import dataclasses
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from sandbox_service.api.app import create_api
from sandbox_service.domain.errors import InvalidRequest, SandboxStartFailed, StoreUnavailable
from sandbox_service.domain.requests import ExecuteCode, OpenSession
from sandbox_service.domain.stores import OnceEntry
from sandbox_service.domain.values import LIVE_STATUSES, ExecutionRecord, SessionRecord
from sandbox_service.store.bounds import StoreBounds
from sandbox_service.store.memory import open_memory_stores
from tests.support.fakes import SteppedClock
from tests.unit.fakes.api_fakes import BOB_KEY, World, small_settings

KEY = {"Idempotency-Key": "order-66"}


@pytest.fixture
def world() -> World:
    return World(small_settings())


@pytest.fixture
async def client(world: World) -> AsyncIterator[httpx.AsyncClient]:
    async with world.client(world.app()) as client:
        yield client


@pytest.fixture
async def session_url(client: httpx.AsyncClient) -> str:
    return f"/v1/sessions/{(await client.post('/v1/sessions', json={})).json()['id']}"


async def test_the_same_key_opens_one_session(world: World, client: httpx.AsyncClient) -> None:
    answers = [await client.post("/v1/sessions", json={}, headers=KEY) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [201] * 3
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert len(world.sessions.records) == 1


@pytest.mark.parametrize("stream", [False, True])
async def test_the_same_key_runs_one_execution(
    world: World, client: httpx.AsyncClient, session_url: str, stream: bool
) -> None:
    """Each answer is the whole one, streams from their first event."""
    body = {"code": "1", "stream": stream}
    url = f"{session_url}/executions"
    answers = [await client.post(url, json=body, headers=KEY) for _ in range(3)]
    assert len({answer.text for answer in answers}) == 1
    assert len(world.executions.journals) == 1


async def test_one_call_under_a_key_opens_one_session_and_runs_one_execution(
    world: World, client: httpx.AsyncClient
) -> None:
    calls = (client.post("/v1/executions", json={"code": "1"}, headers=KEY) for _ in range(50))
    answers = [answer.json() for answer in await asyncio.gather(*calls)]
    assert len({(both["session"]["id"], both["execution"]["id"]) for both in answers}) == 1
    assert (len(world.sessions.records), len(world.executions.journals)) == (1, 1)


async def test_without_a_key_every_request_counts(world: World, client: httpx.AsyncClient) -> None:
    for _ in range(3):
        await client.post("/v1/sessions", json={})
    assert len(world.sessions.records) == 3


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/sessions", {"metadata": {"a": "c"}}),
        ("/v1/sessions", {}),
        ("/v1/executions", {"code": "1"}),
        ("/v1/sessions/{id}/executions", {"code": "1"}),
        ("/v1/sessions/{id}/restart", None),
        ("/v1/sessions/{id}/interrupt", None),
    ],
)
async def test_another_request_under_the_same_key_is_refused(
    client: httpx.AsyncClient, path: str, body: object
) -> None:
    opened = await client.post("/v1/sessions", json={"metadata": {"a": "b"}}, headers=KEY)
    url = path.replace("{id}", opened.json()["id"])
    answer = await client.post(url, json=body, headers=KEY)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (409, "idempotency_key_reused")
    assert (error["param"], error["retryable"]) == ("Idempotency-Key", False)


async def test_the_same_request_written_differently_is_the_same(
    world: World, client: httpx.AsyncClient
) -> None:
    """What counts is what the body says, not how it is spelt."""
    for content in (b'{"idle_ttl_s": 90, "metadata": {}}', b'{ "idle_ttl_s":90.0 }'):
        answer = await client.post("/v1/sessions", content=content, headers=KEY)
        assert answer.status_code == 201
    assert len(world.sessions.records) == 1


BAD_KEYS = [b"", b" ", b"a b", b"\xc3\xa9", b"a\tb", b"x" * 256]


@pytest.mark.parametrize("key", BAD_KEYS)
@pytest.mark.parametrize("path", ["/v1/sessions", "/v1/executions", "{url}/restart"])
async def test_a_key_that_is_none_is_refused(
    world: World, client: httpx.AsyncClient, session_url: str, path: str, key: bytes
) -> None:
    headers = {b"Idempotency-Key": key}
    body = {"code": "1"} if path == "/v1/executions" else {}
    answer = await client.post(path.replace("{url}", session_url), json=body, headers=headers)
    error = answer.json()["error"]
    assert (answer.status_code, error["param"]) == (400, "Idempotency-Key")
    assert len(world.sessions.records) == 1


@pytest.mark.parametrize("key", ["!", "~", "x" * 255, '{"a":1}'])
async def test_a_key_may_be_any_word(client: httpx.AsyncClient, key: str) -> None:
    answer = await client.post("/v1/sessions", json={}, headers={"Idempotency-Key": key})
    assert answer.status_code == 201


async def test_keys_of_different_tenants_have_nothing_to_do_with_each_other(
    world: World, client: httpx.AsyncClient
) -> None:
    mine = await client.post("/v1/sessions", json={}, headers=KEY)
    headers = {**KEY, "Authorization": f"Bearer {BOB_KEY}"}
    theirs = await client.post("/v1/sessions", json={"idle_ttl_s": 90}, headers=headers)
    assert (mine.status_code, theirs.status_code) == (201, 201)
    assert mine.json()["id"] != theirs.json()["id"]


async def test_a_request_that_failed_is_tried_again_under_its_key(
    world: World, client: httpx.AsyncClient
) -> None:
    world.sessions.refusal = SandboxStartFailed("Too slow.")
    assert (await client.post("/v1/sessions", json={}, headers=KEY)).status_code == 503
    world.sessions.refusal = None
    assert (await client.post("/v1/sessions", json={}, headers=KEY)).status_code == 201


async def test_the_same_restart_kills_one_kernel(
    client: httpx.AsyncClient, session_url: str
) -> None:
    epochs = []
    for _ in range(3):
        answer = await client.post(f"{session_url}/restart", headers=KEY)
        epochs.append(answer.json()["kernel"]["epoch"])
    assert epochs == [2, 2, 2]
    other = await client.post(f"{session_url}/restart", headers={"Idempotency-Key": "other"})
    assert other.json()["kernel"]["epoch"] == 3


async def test_the_same_upload_writes_once_and_answers_the_same(
    world: World, client: httpx.AsyncClient, session_url: str
) -> None:
    workspace = world.sessions.workspaces[session_url.rpartition("/")[2]]
    form = {
        "files": [("file", ("a.txt", b"1")), ("file", ("b.txt", b"22"))],
        "data": {"path": "in"},
        "headers": {**KEY, "Content-Type": "multipart/form-data; boundary=x"},
    }
    first = await client.post(f"{session_url}/files", **form)
    await workspace.delete("in/b.txt")  # by a cell, after it arrived
    workspace.contents["in/b.txt"] = b"changed"
    second = await client.post(f"{session_url}/files", **form)
    assert (first.status_code, second.status_code) == (201, 201)
    assert workspace.contents["in/b.txt"] == b"changed"
    paths = [[file["path"] for file in answer.json()["data"]] for answer in (first, second)]
    assert paths == [["in/a.txt", "in/b.txt"]] * 2


@pytest.mark.parametrize("changed", ["content", "name", "folder"])
async def test_another_upload_of_the_same_length_is_not_thrown_away_in_silence(
    world: World, client: httpx.AsyncClient, session_url: str, changed: str
) -> None:
    """The boundary, which many clients choose anew each time, is no part of what is uploaded."""
    workspace = world.sessions.workspaces[session_url.rpartition("/")[2]]

    async def upload(boundary: str, **parts: str) -> httpx.Response:
        part = {"content": "1", "name": "a.txt", "folder": "in", **parts}
        return await client.post(
            f"{session_url}/files",
            files=[("file", (part["name"], part["content"]))],
            data={"path": part["folder"]},
            headers={**KEY, "Content-Type": f"multipart/form-data; boundary={boundary}"},
        )

    assert (await upload("x")).status_code == 201
    other = await upload(
        "y", **{changed: {"content": "2", "name": "b.txt", "folder": "on"}[changed]}
    )
    assert (other.status_code, other.json()["error"]["code"]) == (409, "idempotency_key_reused")
    assert (await upload("z")).status_code == 201
    assert workspace.contents == {"in/a.txt": b"1"}


REFUSED_FIRST: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("/v1/sessions", {"idle_ttl_s": 1}, {"idle_ttl_s": 90}),
    ("/v1/executions", {"code": "1", "timeout_s": 9999}, {"code": "1"}),
    ("/v1/executions", {"code": "1", "session_id": "sess_none"}, {"code": "1"}),
    ("{url}/executions", {"code": "1", "timeout_s": 9999}, {"code": "1"}),
]


class RefusesSomeTerms:
    """Refuses as the rooms below do: after the API has found the shape right."""

    def __init__(self, world: World) -> None:
        self.sessions, self.executions = world.sessions, world.executions

    async def open(self, tenant: str, request: OpenSession, *rest: Any) -> SessionRecord:
        if request.idle_ttl_s == 1:
            raise InvalidRequest("idle_ttl_s must be between 60 and 86400.", param="idle_ttl_s")
        return await self.sessions.open(tenant, request, *rest)

    async def submit(
        self, tenant: str, session_id: str, request: ExecuteCode, *rest: Any
    ) -> ExecutionRecord:
        if request.timeout_s == 9999:
            raise InvalidRequest("timeout_s must be between 0.1 and 120.", param="timeout_s")
        return await self.executions.submit(tenant, session_id, request, *rest)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.sessions if hasattr(self.sessions, name) else self.executions, name)


@pytest.mark.parametrize(("path", "refused", "mended"), REFUSED_FIRST)
async def test_a_refusal_gives_the_key_back_and_leaves_nothing(
    world: World, path: str, refused: dict[str, Any], mended: dict[str, Any]
) -> None:
    rooms = RefusesSomeTerms(world)
    services = dataclasses.replace(world.services(), sessions=rooms, executions=rooms)
    async with world.client(create_api(services)) as client:
        session = (await client.post("/v1/sessions", json={})).json()
        url = path.replace("{url}", f"/v1/sessions/{session['id']}")
        assert (await client.post(url, json=refused, headers=KEY)).status_code in (400, 404)
        assert {r.id for r in world.sessions.records.values() if r.status in LIVE_STATUSES} == {
            session["id"]
        }
        answer = await client.post(url, json=mended, headers=KEY)
        assert answer.status_code in (200, 201)
        reused = await client.post(url, json=refused, headers=KEY)
        assert (reused.status_code, reused.json()["error"]["code"]) == (
            409,
            "idempotency_key_reused",
        )


async def test_an_upload_that_was_refused_gives_its_key_back(
    client: httpx.AsyncClient, session_url: str
) -> None:
    url, text = f"{session_url}/files", "text/plain"
    assert (await client.post(url, content=b"x", headers={**KEY, "Content-Type": text})).is_error
    answer = await client.post(url, files={"file": ("a.txt", b"1")}, headers=KEY)
    assert answer.status_code == 201


class StoreIsAway:
    """Nothing is known of any key now."""

    async def begin(self, *_: object) -> OnceEntry:
        raise StoreUnavailable("The store does not answer.")


async def test_while_the_store_is_away_nothing_under_a_key_takes_effect(world: World) -> None:
    world.once = StoreIsAway()  # type: ignore[assignment]
    async with world.client(world.app()) as client:
        answer = await client.post("/v1/sessions", json={}, headers=KEY)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        assert json.loads(answer.text)["error"]["retryable"]
        assert world.sessions.records == {}


async def test_a_key_is_forgotten_when_its_time_is_over() -> None:
    clock = SteppedClock()
    with open_memory_stores(StoreBounds(once_retention_s=60), clock=clock) as stores:
        first = await stores.once.begin("a", "k", "body", {"sess": "sess_1"})
        clock.advance(59)
        assert await stores.once.begin("a", "k", "other", {"sess": "sess_2"}) == first
        clock.advance(2)
        fresh = await stores.once.begin("a", "k", "other", {"sess": "sess_2"})
        assert fresh.ids == {"sess": "sess_2"}
