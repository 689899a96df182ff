"""What a connection may hold before its caller is known, over real sockets."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace

import pytest
import uvicorn
from prometheus_client import CollectorRegistry
from starlette.types import Receive, Scope, Send

from sandbox_service.api.connections import ConnectionBounds, Connections
from sandbox_service.api.http_protocol import bounded_protocol

BOUNDS = ConnectionBounds(most=50, head_bytes=8192, head_timeout_s=60, most_headers=50)
PATIENCE_S = 60
GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


class Held:
    """An application that answers `/held` when it is let go, and everything else at once."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.go_on = asyncio.Event()
        self.requests = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.requests += 1
        if scope["path"] == "/held":
            self.asked.set()
            await self.go_on.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"served"})


class Site:
    """A server on a port of its own."""

    def __init__(self, port: int, app: Held, registry: CollectorRegistry) -> None:
        self.app = app
        self._port = port
        self._registry = registry

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self._port)

    async def answer(self, *sent: bytes) -> bytes:
        """All that comes back until the server ends the connection."""
        reader, writer = await self.connect()
        with suppress(ConnectionError):
            for piece in sent:
                writer.write(piece)
                await writer.drain()
        try:
            async with asyncio.timeout(PATIENCE_S):
                return await all_of(reader)
        finally:
            writer.close()

    def refused(self, reason: str) -> float:
        sample = {"reason": reason}
        return self._registry.get_sample_value("sandbox_connections_refused_total", sample) or 0.0


async def all_of(reader: asyncio.StreamReader) -> bytes:
    got = b""
    with suppress(ConnectionError):
        while piece := await reader.read(65536):
            got += piece
    return got


@asynccontextmanager
async def site(bounds: ConnectionBounds = BOUNDS) -> AsyncIterator[Site]:
    app, registry = Held(), CollectorRegistry()
    listener = socket.create_server(("127.0.0.1", 0))
    protocol = bounded_protocol(Connections(bounds, registry))
    config = uvicorn.Config(app, http=protocol, ws="none", lifespan="off", log_config=None)
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve([listener]))
    try:
        yield Site(listener.getsockname()[1], app, registry)
    finally:
        app.go_on.set()
        server.should_exit = server.force_exit = True
        await serving


@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 9000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nX: " + b"a" * 2_000_000,
        b"GET /" + b"a" * 2_000_000,
        b"GET / HTTP/1.1\r\n" + b"a:\r\n" * 60 + b"\r\n",
        b"GET / HTTP/1.1\r\n" + b"a" * 2_000_000,
        b"\r\n" * 1_000_000,
    ],
    ids=["one header", "no end", "url", "many headers", "name", "empty lines"],
)
async def test_a_head_that_is_too_large_ends_the_connection_with_431(head: bytes) -> None:
    async with site() as here:
        answer = await here.answer(head)
        assert answer == b"" or answer.startswith(b"HTTP/1.1 431 ")  # lost, if we still sent
        assert here.refused("head_too_large") == 1
        assert here.app.requests == 0


async def test_a_head_within_its_bound_is_served_also_behind_a_large_body() -> None:
    async with site() as here:
        post = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3000000\r\n\r\n" + b"b" * 3_000_000
        last = b"GET / HTTP/1.1\r\nConnection: close\r\nX: " + b"a" * 7000 + b"\r\n\r\n"
        answer = await here.answer(post, last)
        assert answer.count(b"served") == 2


@pytest.mark.parametrize("sent", [b"", b"GET / HT", GET + b"\r\n", GET + b"GET / HTTP/1.1\r\nX:"])
async def test_a_head_that_does_not_come_ends_the_connection(sent: bytes) -> None:
    async with site(replace(BOUNDS, head_timeout_s=0.2)) as here:
        answer = await here.answer(sent)
        assert b"HTTP/1.1 408 " in answer
        assert here.refused("head_stalled") == 1


async def test_more_requests_at_once_than_anybody_pipelines_end_the_connection() -> None:
    async with site() as here:
        held = b"GET /held HTTP/1.1\r\nHost: x\r\n\r\n"
        assert await here.answer(held + GET * 3000) == b""
        assert here.refused("too_many_requests") == 1
        assert here.app.requests <= BOUNDS.most_pipelined + 1


async def test_a_few_pipelined_requests_are_served_in_order() -> None:
    async with site() as here:
        last = b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n"
        assert (await here.answer(GET * 10 + last)).count(b"served") == 11


async def test_of_too_many_connections_the_one_that_waits_longest_ends() -> None:
    """So that who only holds connections cannot keep others out."""
    async with site(replace(BOUNDS, most=3)) as here:
        silent = [await here.connect() for _ in range(3)]
        answer = await here.answer(b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n")
        assert b"served" in answer
        async with asyncio.timeout(PATIENCE_S):
            assert await all_of(silent[0][0]) == b""
        assert here.refused("too_many_connections") == 1
        for _, writer in silent:
            writer.close()


async def test_while_all_connections_work_a_new_one_is_told_to_come_back() -> None:
    async with site(replace(BOUNDS, most=1)) as here:
        reader, writer = await here.connect()
        writer.write(b"GET /held HTTP/1.1\r\nConnection: close\r\n\r\n")
        await here.app.asked.wait()
        answer = await here.answer(b"")
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"retry-after" in answer.lower()
        here.app.go_on.set()
        assert b"served" in await all_of(reader)
        writer.close()
