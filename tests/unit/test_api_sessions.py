"""Sessions over HTTP."""

import httpx
import nbformat
import pytest

from tests.unit.fakes.api_fakes import World, small_settings


@pytest.fixture
def world() -> World:
    return World(small_settings())


async def opened(client: httpx.AsyncClient, **body: object) -> dict[str, object]:
    answer = await client.post("/v1/sessions", json=body)
    assert answer.status_code == 201
    return dict(answer.json())


async def test_a_session_is_shown_as_the_contract_says(world: World) -> None:
    async with world.client(world.app()) as client:
        session = await opened(client, metadata={"user": "u"}, limits={"cpus": 2})
    assert list(session) == [
        "id", "object", "status", "template", "runtime", "created_at", "last_active_at",
        "expires_at", "idle_ttl_s", "max_age_s", "limits", "kernel", "metadata",
    ]  # fmt: skip
    assert session["kernel"] == {"epoch": 1, "state": "idle"}
    assert session["metadata"] == {"user": "u"}
    assert str(session["created_at"]).endswith("Z")
    assert session["limits"]["cpus"] == 2  # type: ignore[index]


async def test_an_empty_body_opens_a_session_with_defaults(world: World) -> None:
    async with world.client(world.app()) as client:
        assert (await client.post("/v1/sessions")).status_code == 201


async def test_a_session_is_read_changed_and_closed(world: World) -> None:
    async with world.client(world.app()) as client:
        url = f"/v1/sessions/{(await opened(client))['id']}"
        changed = (await client.patch(url, json={"idle_ttl_s": 90, "metadata": {"a": "b"}})).json()
        assert (changed["idle_ttl_s"], changed["metadata"]) == (90, {"a": "b"})
        closed = await client.delete(url)
        assert (closed.status_code, closed.json()["status"]) == (200, "closed")
        assert closed.json()["kernel"]["state"] == "dead"
        assert (await client.delete(url)).status_code == 200
        assert (await client.get(url)).json()["status"] == "closed"


async def test_a_restart_raises_the_epoch_and_an_interrupt_does_not(world: World) -> None:
    async with world.client(world.app()) as client:
        url = f"/v1/sessions/{(await opened(client))['id']}"
        assert (await client.post(url + "/interrupt")).json()["kernel"]["epoch"] == 1
        assert (await client.post(url + "/restart")).json()["kernel"]["epoch"] == 2


async def test_a_list_is_read_page_by_page_to_its_end(world: World) -> None:
    async with world.client(world.app()) as client:
        ids = [(await opened(client))["id"] for _ in range(5)]
        seen, query = [], {"limit": "2"}
        for _ in range(3):
            page = (await client.get("/v1/sessions", params=query)).json()
            seen += [session["id"] for session in page["data"]]
            query["after"] = page["next_cursor"]
    assert (page["object"], page["has_more"], page["next_cursor"]) == ("list", False, None)
    assert seen == ids[::-1]


@pytest.mark.parametrize("query", ["limit=0", "limit=101", "limit=x", "after="])
async def test_a_bad_page_is_refused_by_its_parameter(world: World, query: str) -> None:
    async with world.client(world.app()) as client:
        answer = await client.get(f"/v1/sessions?{query}")
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == query.partition("=")[0]


async def test_an_expired_session_is_gone_with_its_reason(world: World) -> None:
    async with world.client(world.app()) as client:
        session_id = str((await opened(client))["id"])
        world.sessions.expire(session_id)
        url = f"/v1/sessions/{session_id}"
        answers = [
            await client.post(url + "/executions", json={"code": "1"}),
            await client.post("/v1/executions", json={"code": "1", "session_id": session_id}),
            await client.get(url + "/files"),
            await client.patch(url, json={}),
        ]
        assert (await client.get(url)).json()["status"] == "expired"
    assert [answer.status_code for answer in answers] == [410] * 4
    assert {answer.json()["error"]["code"] for answer in answers} == {"session_expired"}


async def test_the_notebook_holds_what_was_run_and_is_valid(world: World) -> None:
    async with world.client(world.app()) as client:
        url = f"/v1/sessions/{(await opened(client))['id']}"
        await client.post(url + "/executions", json={"code": "print('é')"})
        answer = await client.get(url + "/notebook")
    notebook = nbformat.reads(answer.text, as_version=4)
    nbformat.validate(notebook)
    assert notebook.cells[0].source == "print('é')"
    assert answer.headers["content-type"] == "application/x-ipynb+json"
    assert answer.headers["content-disposition"].startswith("attachment")
