"""One key, one effect: fifty at once, and again after the process was killed."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest

from tests.support.service import ServiceProcess

COUNTS = "open('count', 'a').write('x')"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    """A service that may be killed; the sandboxes are plain processes."""
    process = ServiceProcess(tmp_path_factory.mktemp("once"), "unsafe_local")
    with process:
        yield process


@pytest.fixture
async def client(place: ServiceProcess) -> AsyncIterator[httpx.AsyncClient]:
    async with place.client() as client:
        yield client


async def post(client: httpx.AsyncClient, path: str, key: str, **body: object) -> httpx.Response:
    return await client.post(path, json=body, headers={"Idempotency-Key": key})


async def count(client: httpx.AsyncClient, session_id: str) -> int:
    """How often the code ran."""
    return len((await client.get(f"/v1/sessions/{session_id}/files/count")).content)


def unsigned(execution: dict[str, Any]) -> dict[str, Any]:
    """Links to artifacts are signed anew with each answer."""
    artifacts = [{**artifact, "url": ""} for artifact in execution["artifacts"]]
    return {**execution, "artifacts": artifacts}


def sandboxes(place: ServiceProcess) -> int:
    return len([path for path in place.runtime_dir.glob("*/*") if path.is_dir()])


async def sessions(client: httpx.AsyncClient) -> list[dict[str, Any]]:
    return list((await client.get("/v1/sessions")).json()["data"])


async def test_fifty_at_once_open_one_session_and_run_one_execution(
    place: ServiceProcess, client: httpx.AsyncClient
) -> None:
    calls = (post(client, "/v1/executions", "fifty", code=COUNTS) for _ in range(50))
    answers = await asyncio.gather(*calls)
    assert [answer.status_code for answer in answers] == [200] * 50
    ids = {
        (both["session"]["id"], both["execution"]["id"])
        for both in map(httpx.Response.json, answers)
    }
    [(session_id, _)] = ids
    assert (await count(client, session_id), sandboxes(place)) == (1, 1)
    assert [session["id"] for session in await sessions(client)] == [session_id]
    other = await post(client, "/v1/executions", "fifty", code="1")
    assert (other.status_code, other.json()["error"]["code"]) == (409, "idempotency_key_reused")


async def test_a_key_holds_after_a_kill(place: ServiceProcess, client: httpx.AsyncClient) -> None:
    """What was done is answered again; what was begun goes on and is answered; neither runs twice."""
    done = (await post(client, "/v1/executions", "done", code=COUNTS)).json()
    url = f"/v1/sessions/{done['session']['id']}/executions"
    slow = f"{COUNTS}\nimport os, time\nwhile not os.path.exists('go'): time.sleep(0.01)"
    begun = asyncio.create_task(post(client, url, "begun", code=slow))
    async with asyncio.timeout(60):
        while await count(client, done["session"]["id"]) < 2:
            await asyncio.sleep(0.02)
    place.kill()
    with pytest.raises(httpx.TransportError):
        await begun
    place.start()
    await client.put(f"/v1/sessions/{done['session']['id']}/files/go", content=b"")
    again = (await post(client, "/v1/executions", "done", code=COUNTS)).json()
    assert unsigned(again["execution"]) == unsigned(done["execution"])
    ended = await post(client, url, "begun", code=slow)
    assert ended.json()["status"] == "ok"
    assert await count(client, done["session"]["id"]) == 2
    other = await post(client, url, "begun", code="1")
    assert other.json()["error"]["code"] == "idempotency_key_reused"


async def test_an_opening_that_was_killed_is_made_once_under_its_key(
    place: ServiceProcess, client: httpx.AsyncClient
) -> None:
    """Nothing of the first attempt is left; the second gets the session that the first was to have."""
    before = sandboxes(place)
    opening = asyncio.create_task(post(client, "/v1/sessions", "opening"))
    async with asyncio.timeout(60):
        while sandboxes(place) == before:
            await asyncio.sleep(0.01)
    place.kill()
    with pytest.raises(httpx.TransportError):
        await opening
    place.start()
    answers = await asyncio.gather(*(post(client, "/v1/sessions", "opening") for _ in range(5)))
    assert [answer.status_code for answer in answers] == [201] * 5
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert (len(await sessions(client)), sandboxes(place)) == (before + 1, before + 1)
    url = f"/v1/sessions/{answers[0].json()['id']}/executions"
    assert (await post(client, url, "run", code="1 + 1")).json()["status"] == "ok"
