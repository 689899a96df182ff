"""A process that is asked to stop: callers are told where to go on, sandboxes wait for the next one."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest

from tests.support.service import ServiceProcess

RETURN_S = 6
WAITS = "import os, time\nwhile not os.path.exists('go'): time.sleep(0.05)"
COUNTS = """
import os, time
for n in range(40):
    print('line', n, flush=True)
    while n == 20 and not os.path.exists('go'): time.sleep(0.01)
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    """A service that says some time ahead that it stops, and then gives running cells a second."""
    times = {
        "SANDBOX_DRAIN_S": "1",
        "SANDBOX_DRAIN_NOTICE_S": "2",
        "SANDBOX_RETURN_S": str(RETURN_S),
    }
    directory = tmp_path_factory.mktemp("stop")
    with ServiceProcess(directory, "unsafe_local", SANDBOX_ON_STOP="keep", **times) as process:
        yield process
        close_all(process)


def close_all(place: ServiceProcess) -> None:
    """What is kept for the next process is not kept for the next test."""
    headers = {"Authorization": f"Bearer {place.key}"}
    with httpx.Client(base_url=place.url, headers=headers, timeout=60) as client:
        for session in client.get("/v1/sessions").json()["data"]:
            client.delete(f"/v1/sessions/{session['id']}")


@pytest.fixture
async def client(place: ServiceProcess) -> AsyncIterator[httpx.AsyncClient]:
    async with place.client(place.full_key) as client:
        yield client


@pytest.fixture
async def session(client: httpx.AsyncClient) -> AsyncIterator[str]:
    url = f"/v1/sessions/{(await client.post('/v1/sessions', json={})).json()['id']}"
    await client.post(f"{url}/executions", json={"code": "kept = 41"})
    yield url
    await client.delete(url)


async def ended(place: ServiceProcess) -> None:
    assert place._process is not None
    assert await asyncio.to_thread(place._process.wait, 60) == 0


def events_in(text: str) -> list[dict[str, Any]]:
    blocks = (block.splitlines() for block in text.split("\n\n"))
    fields = [dict(x.split(": ", 1) for x in lines if not x.startswith(":")) for lines in blocks]
    return [{**one, "data": json.loads(one["data"])} for one in fields if "data" in one]


async def test_streams_and_waits_go_on_with_the_next_process(
    place: ServiceProcess, client: httpx.AsyncClient, session: str
) -> None:
    """Not ready first; then each is told where; then every line is there once, and the variables too."""
    url, text = f"{session}/executions", ""
    async with place.client() as other:
        async with client.stream("POST", url, json={"code": COUNTS, "stream": True}) as answer:
            waiting = asyncio.create_task(
                other.post(url, json={"code": "kept + 1"}, headers={"Idempotency-Key": "waits"})
            )
            chunks = answer.aiter_text()
            while "line 20" not in text:
                text += await anext(chunks)
            await until_accepted(client, url, 3)
            os.kill(place.pid, signal.SIGTERM)
            async with place.client() as prober:
                assert await first_refusal(prober) == "shutting_down"
            text += "".join([chunk async for chunk in chunks])
        refused = await waiting
    await ended(place)
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "shutting_down")
    told = events_in(text)
    assert told[-1]["event"] == "stream.interrupted"
    last = told[-1]["data"]
    assert (last["reason"], last["last_event_id"]) == ("shutting_down", int(told[-2]["id"]))

    place.start()
    async with place.client() as again:
        await again.put(f"{session}/files/go", content=b"")
        headers = {"Last-Event-ID": str(last["last_event_id"])}
        rest = events_in((await again.get(last["events_url"], headers=headers)).text)
        result = await again.post(
            url, json={"code": "kept + 1"}, headers={"Idempotency-Key": "waits"}
        )
    whole = told[:-1] + rest
    assert [int(event["id"]) for event in whole] == list(range(1, len(whole) + 1))
    printed = "".join(e["data"]["output"]["text"] for e in whole if e["event"] == "output")
    assert printed == "".join(f"line {n}\n" for n in range(40))
    assert result.json()["outputs"][0]["data"]["text/plain"] == "42"


async def until_accepted(client: httpx.AsyncClient, url: str, count: int) -> None:
    async with asyncio.timeout(60):
        while len((await client.get(url)).json()["data"]) < count:
            await asyncio.sleep(0.02)


async def test_what_was_asked_for_with_a_cell_holds_after_a_stop(
    place: ServiceProcess, client: httpx.AsyncClient
) -> None:
    """Nobody comes back to one, somebody to the other; and a session that was to end with its cell does."""
    opened = [(await client.post("/v1/sessions", json={})).json()["id"] for _ in range(3)]
    left, followed, closing = opened
    bodies = [
        {"session_id": left, "cancel_on_disconnect": True},
        {"session_id": followed, "cancel_on_disconnect": True},
        {"session_id": closing, "close_session": True},
    ]
    calls = [
        asyncio.create_task(client.post("/v1/executions", json={"code": WAITS, **body}))
        for body in bodies
    ]
    for session_id in opened:
        await until_status(client, session_id, "running")
    await asyncio.to_thread(place.stop)
    assert {(await call).status_code for call in calls} == {503}

    await asyncio.to_thread(place.start)
    async with place.client() as follower:
        execution = await latest(client, followed)
        events = f"/v1/sessions/{followed}/executions/{execution['id']}/events"
        following = asyncio.create_task(follower.get(events))
        await until_status(client, left, "interrupted")
        for session_id in (followed, closing):
            await client.put(f"/v1/sessions/{session_id}/files/go", content=b"")
        assert "event: execution.completed" in (await following).text
    await until_status(client, followed, "ok")
    await until_status(client, closing, "ok")
    async with asyncio.timeout(60):
        while (await client.get(f"/v1/sessions/{closing}")).json()["status"] != "closed":
            await asyncio.sleep(0.1)


async def latest(client: httpx.AsyncClient, session_id: str) -> dict[str, Any]:
    listed = await client.get(f"/v1/sessions/{session_id}/executions")
    return dict((listed.json()["data"] or [{"status": ""}])[-1])


async def until_status(client: httpx.AsyncClient, session_id: str, status: str) -> None:
    async with asyncio.timeout(60):
        while (await latest(client, session_id))["status"] != status:
            await asyncio.sleep(0.05)


async def first_refusal(client: httpx.AsyncClient) -> str:
    """Why the process is not ready; it still answers."""
    async with asyncio.timeout(60):
        while (answer := await client.get("/readyz")).status_code == 200:
            await asyncio.sleep(0.02)
    return str(answer.json()["error"]["code"])


async def test_a_session_that_was_closed_in_mid_cell_holds_up_nothing(
    place: ServiceProcess, client: httpx.AsyncClient, session: str
) -> None:
    """Its worker is done at once: the next stop has nothing to wait for."""
    running = asyncio.create_task(
        client.post(f"{session}/executions", json={"code": "import time; time.sleep(600)"})
    )
    await until_worked(client, 1)
    await client.delete(session)
    assert (await running).json()["status"] == "interrupted"
    await until_worked(client, 0)
    assert "Traceback" not in place.log_path.read_text()


async def until_worked(client: httpx.AsyncClient, count: int) -> None:
    async with asyncio.timeout(60):
        while f"sandbox_queues_worked {count}.0" not in (await client.get("/metrics")).text:
            await asyncio.sleep(0.05)
