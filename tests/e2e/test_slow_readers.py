"""Callers who take nothing are dropped; the code that they started is not, unless they asked for that."""

import asyncio
import contextlib
import json
import re
import socket
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest

from tests.support.service import ServiceProcess

FLOOD = "for n in range(10): print('x' * (1 << 20))"
FLOODS_TWICE = f"import time\n{FLOOD}\ntime.sleep(3)\n{FLOOD}"
CROWD = 30
LIMITS = {"output_bytes": 32 << 20}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    """A service that waits one second for its readers, and two for those to come back whom it dropped."""
    directory = tmp_path_factory.mktemp("slow")
    times = {"SANDBOX_STALL_TIMEOUT_S": "1", "SANDBOX_RETURN_S": "2"}
    with ServiceProcess(directory, "unsafe_local", **times) as process:
        yield process


@pytest.fixture
async def client(place: ServiceProcess) -> AsyncIterator[httpx.AsyncClient]:
    async with place.client(place.full_key) as client:
        yield client


@pytest.fixture
async def session(client: httpx.AsyncClient) -> AsyncIterator[str]:
    opened = await client.post("/v1/sessions", json={"limits": LIMITS})
    url = f"/v1/sessions/{opened.json()['id']}"
    await client.post(f"{url}/executions", json={"code": "1"})
    yield url
    await client.delete(url)


def ask(place: ServiceProcess, method: str, path: str, body: dict[str, object]) -> socket.socket:
    """Send a request, and never read."""
    content = json.dumps(body).encode()
    head = (
        f"{method} {path} HTTP/1.1\r\nHost: {place.url[7:]}\r\nAuthorization: Bearer {place.key}\r\n"
        f"Content-Length: {len(content)}\r\n\r\n"
    )
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.connect(("127.0.0.1", place.port))
    connection.sendall(head.encode() + content)
    return connection


async def dropped(client: httpx.AsyncClient) -> float:
    text = (await client.get("/metrics")).text
    found = re.search(r"^sandbox_readers_dropped_total (\S+)$", text, re.MULTILINE)
    assert found
    return float(found[1])


async def until_dropped(client: httpx.AsyncClient, count: float) -> None:
    async with asyncio.timeout(60):
        while await dropped(client) < count:
            await asyncio.sleep(0.1)


async def until_sockets(place: ServiceProcess, count: int) -> None:
    async with asyncio.timeout(60):
        while place.open_sockets() > count:
            await asyncio.sleep(0.1)


async def test_a_stream_that_nobody_reads_is_dropped_and_its_execution_ends(
    place: ServiceProcess, client: httpx.AsyncClient, session: str
) -> None:
    before, sockets = await dropped(client), place.open_sockets()
    body = {"code": FLOODS_TWICE, "stream": True}
    with ask(place, "POST", f"{session}/executions", body):
        await until_dropped(client, before + 1)
        async with asyncio.timeout(60):
            while (execution := await latest(client, session))["status"] == "running":
                await asyncio.sleep(0.1)
        await until_sockets(place, sockets)
    assert execution["status"] == "ok"
    assert sum(len(node["text"]) for node in execution["outputs"]) == 20 * ((1 << 20) + 1)
    assert "reader_dropped what=event_stream" in place.log_path.read_text()


async def test_a_cell_that_was_to_end_with_its_reader_ends_when_that_was_dropped(
    place: ServiceProcess, client: httpx.AsyncClient, session: str
) -> None:
    before = await dropped(client)
    code = f"import time\n{FLOOD}\nwhile True: time.sleep(0.1)"
    body = {"code": code, "stream": True, "cancel_on_disconnect": True}
    with ask(place, "POST", f"{session}/executions", body):
        await until_dropped(client, before + 1)
        async with asyncio.timeout(60):
            while (execution := await latest(client, session))["status"] == "running":
                await asyncio.sleep(0.1)
    assert execution["status"] == "interrupted"


async def latest(client: httpx.AsyncClient, session: str) -> dict[str, object]:
    listed = await client.get(f"{session}/executions")
    return dict(listed.json()["data"][-1])


async def test_what_the_dropped_reader_missed_is_there_for_who_comes_back(
    place: ServiceProcess, client: httpx.AsyncClient, session: str
) -> None:
    before = await dropped(client)
    with ask(place, "POST", f"{session}/executions", {"code": FLOOD, "stream": True}):
        await until_dropped(client, before + 1)
    execution = await latest(client, session)
    url = f"{session}/executions/{execution['id']}/events"
    events = (await client.get(url, headers={"Last-Event-ID": "1"})).text
    ids = [int(number) for number in re.findall(r"^id: (\d+)$", events, re.MULTILINE)]
    assert ids == list(range(2, ids[-1] + 1))
    assert "event: execution.completed" in events


async def test_a_download_that_nobody_reads_is_dropped(
    place: ServiceProcess, client: httpx.AsyncClient, session: str
) -> None:
    code = "open('large', 'wb').truncate(64 << 20)"
    await client.post(f"{session}/executions", json={"code": code})
    before, sockets = await dropped(client), place.open_sockets()
    with ask(place, "GET", f"{session}/files/large", {}):
        await until_dropped(client, before + 1)
        await until_sockets(place, sockets)
    assert "reader_dropped what=download" in place.log_path.read_text()


async def test_a_crowd_that_never_reads_takes_nothing_from_who_does(
    place: ServiceProcess, client: httpx.AsyncClient, session: str
) -> None:
    await client.post(f"{session}/executions", json={"code": FLOOD})
    execution = await latest(client, session)
    before, sockets = await dropped(client), place.open_sockets()
    url = f"{session}/executions/{execution['id']}/events"
    with contextlib.ExitStack() as crowd:
        for _ in range(CROWD):
            crowd.enter_context(ask(place, "GET", url, {}))
        for _ in range(10):
            answer = await client.post(f"{session}/executions", json={"code": "6 * 7"})
            assert answer.json()["status"] == "ok"
        await until_dropped(client, before + CROWD)
        await until_sockets(place, sockets)
