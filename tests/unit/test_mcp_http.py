"""MCP over HTTP from inside: requests to ourselves, cancellation across processes, origins."""

import asyncio
import os
import time
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from mcp.shared.exceptions import MCPError
from starlette.datastructures import Headers

from sandbox_service.api.mcp_route import check_origin
from sandbox_service.domain.errors import PermissionDenied
from sandbox_service.mcp.http import Exchanges, _Exchange
from sandbox_service.mcp.in_process import MOST_ANSWER_BYTES, InProcessTransport
from sandbox_service.mcp.slips import STALE_S, CallName, Slips
from tests.support.turns import others_run

OUTER = {
    "type": "http",
    "method": "POST",
    "path": "/mcp",
    "scheme": "https",
    "root_path": "",
    "http_version": "1.1",
    "server": ("192.0.2.1", 443),
    "client": ("198.51.100.7", 5000),
    "headers": [(b"host", b"sandbox.example"), (b"authorization", b"Bearer outer")],
    "state": {"request_id": "req_outer"},
}
START = {"type": "http.response.start", "status": 200, "headers": [(b"x-a", b"1")]}


def piece(body: bytes, *, more: bool = True) -> dict[str, Any]:
    return {"type": "http.response.body", "body": body, "more_body": more}


def client_of(app: Any) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=InProcessTransport(app, OUTER), base_url="http://service")


class Recorder:
    """Answers with one piece after another, as it is let, and keeps what it saw."""

    def __init__(self, pieces: int = 1) -> None:
        self.scope: dict[str, Any] = {}
        self.received: list[dict[str, Any]] = []
        self.next = asyncio.Semaphore(0)
        self.hung_up = asyncio.Event()
        self._pieces = pieces

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.scope = scope
        while not self.received or self.received[-1]["more_body"]:
            self.received.append(await receive())
        await send(START)
        for number in range(self._pieces):
            await self.next.acquire()
            await send(piece(b"%d" % number))
        await send(piece(b"", more=False))
        assert (await receive())["type"] == "http.disconnect"
        self.hung_up.set()


async def test_an_inner_request_is_the_outer_callers() -> None:
    """The audit log sees the caller's address, and links begin as the caller's do."""
    app = Recorder(pieces=0)
    async with client_of(app) as client:
        answer = await client.put("/v1/a%20b?c=d", content=b"body", headers={"X-B": "2"})
    assert (answer.status_code, answer.headers["x-a"]) == (200, "1")
    scope = app.scope
    assert (scope["client"], scope["scheme"]) == (("198.51.100.7", 5000), "https")
    assert (scope["method"], scope["path"], scope["raw_path"]) == (
        "PUT",
        "/v1/a b",
        b"/v1/a%20b",
    )
    assert scope["query_string"] == b"c=d"
    headers = dict(scope["headers"])
    assert headers[b"host"] == b"sandbox.example"
    assert headers[b"x-request-id"] == b"req_outer"
    assert headers[b"x-b"] == b"2"
    assert b"authorization" not in headers
    assert b"".join(message["body"] for message in app.received) == b"body"


async def test_an_answer_is_read_as_it_is_sent_and_leaving_it_hangs_up() -> None:
    app = Recorder(pieces=3)
    async with client_of(app) as client, client.stream("GET", "/") as answer:
        chunks = answer.aiter_bytes()
        app.next.release()
        assert await anext(chunks) == b"0"
        app.next.release()
        assert await anext(chunks) == b"1"
        assert not app.hung_up.is_set()
    app.next.release()
    await asyncio.wait_for(app.hung_up.wait(), 60)


async def test_a_reader_that_is_slow_slows_the_application_and_does_not_fill_the_memory() -> None:
    sent: list[int] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        for number in range(1000):
            await send(piece(b"x"))
            sent.append(number)
        await send(piece(b"", more=False))

    async with client_of(app) as client, client.stream("GET", "/") as answer:
        await others_run()
        assert len(sent) < 20
        assert len(await answer.aread()) == 1000


async def silent(scope: Any, receive: Any, send: Any) -> None:
    return None


async def cut(scope: Any, receive: Any, send: Any) -> None:
    await send(START)
    await send(piece(b"half"))


async def endless(scope: Any, receive: Any, send: Any) -> None:
    await send(START)
    while True:
        await send(piece(bytes(1024 * 1024)))


BROKEN = [(silent, "there was no answer"), (cut, "ended early"), (endless, "larger than")]


@pytest.mark.parametrize(("app", "reason"), BROKEN, ids=["silent", "cut", "endless"])
async def test_an_answer_that_is_not_whole_is_a_broken_connection(app: Any, reason: str) -> None:
    async with client_of(app) as client:
        with pytest.raises(httpx.TransportError, match=reason):
            received = 0
            async with client.stream("GET", "/") as answer:
                async for chunk in answer.aiter_raw():
                    received += len(chunk)
                    assert received <= MOST_ANSWER_BYTES
                    if app is endless and received > 8 * 1024 * 1024:
                        raise httpx.ReadError("larger than is good for a test")


NAME = CallName("Bearer key", "mcp_1", 7)
OTHERS = [
    CallName("Bearer other", "mcp_1", 7),
    CallName("Bearer key", "mcp_2", 7),
    CallName("Bearer key", "mcp_1", 8),
    CallName("Bearer key", "mcp_1", "7"),
]


async def held(slips: Slips, name: CallName) -> None:
    async with slips.cancellable(name):
        await asyncio.sleep(60)


def slips_in(directory: Path) -> list[str]:
    return sorted(os.listdir(directory)) if directory.exists() else []


async def until_held(directory: Path) -> None:
    while not slips_in(directory):
        await asyncio.sleep(0.01)


@pytest.fixture
def calls(tmp_path: Path) -> Path:
    return tmp_path / "mcp" / "calls"


async def test_any_process_can_cancel_a_call_by_its_name(calls: Path) -> None:
    """Two that share a directory are as two processes; nothing is left behind."""
    running = asyncio.create_task(held(Slips(calls), NAME))
    await until_held(calls)
    Slips(calls).take_away(NAME)
    with pytest.raises(MCPError, match="cancelled"):
        await asyncio.wait_for(running, 60)
    assert slips_in(calls) == []


async def test_no_other_name_cancels_it(calls: Path) -> None:
    running = asyncio.create_task(held(Slips(calls), NAME))
    await until_held(calls)
    for other in OTHERS:
        Slips(calls).take_away(other)
    await asyncio.sleep(0.3)
    assert not running.done()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert slips_in(calls) == []


async def test_a_call_that_ends_by_itself_leaves_no_slip(calls: Path) -> None:
    slips = Slips(calls)
    async with slips.cancellable(NAME):
        assert len(slips_in(calls)) == 1
    assert slips_in(calls) == []
    slips.take_away(NAME)


async def test_slips_of_killed_processes_are_removed_in_time(calls: Path) -> None:
    os.makedirs(calls)
    for name, age_s in (("old", STALE_S + 60), ("young", 60)):
        (calls / name).touch()
        os.utime(calls / name, (time.time() - age_s,) * 2)
    async with Slips(calls).cancellable(NAME):
        pass
    assert slips_in(calls) == ["young"]


ORIGINS = [
    (None, "sandbox.example", None, True),
    ("http://localhost:6274", "sandbox.example", None, True),
    ("http://127.0.0.1:9", "sandbox.example", None, True),
    ("http://[::1]:9", "sandbox.example", None, True),
    ("https://sandbox.example", "sandbox.example", "https://sandbox.example/", True),
    ("https://Sandbox.Example", "sandbox.example", "https://sandbox.example", True),
    ("http://sandbox.example", "sandbox.example", "https://sandbox.example", False),
    ("http://192.0.2.1:8000", "192.0.2.1:8000", None, True),
    ("http://192.0.2.2", "192.0.2.1:8000", None, False),
    ("http://evil.example", "evil.example", None, False),
    ("http://evil.example:8000", "evil.example:8000", "https://sandbox.example", False),
    ("http://localhost.evil.example", "127.0.0.1", None, False),
    ("null", "127.0.0.1", None, False),
    ("http://[", "127.0.0.1", None, False),
    ("", "127.0.0.1", None, False),
]


@pytest.mark.parametrize(("origin", "host", "public_url", "is_let_in"), ORIGINS)
def test_a_web_page_is_let_in_only_from_where_no_name_can_be_pointed_at_us(
    origin: str | None, host: str, public_url: str | None, is_let_in: bool
) -> None:
    headers = Headers({"host": host} | ({} if origin is None else {"origin": origin}))
    if is_let_in:
        check_origin(headers, public_url)
        return
    with pytest.raises(PermissionDenied):
        check_origin(headers, public_url)


class _Streams(Exchanges):
    """Answers with one event that has a line break of Unicode in it, as the protocol's library does."""

    def __init__(self) -> None:
        pass

    async def serve(self, scope: Any, receive: Any, send: Any, *, is_plain: bool) -> None:
        head = [(b"content-type", b"text/event-stream; charset=utf-8")]
        await send({**START, "headers": head})
        await send(piece('data: {"text":"a\u2028b"}\n\n'.encode(), more=False))


async def test_an_event_is_one_line_for_whoever_splits_lines() -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    await _Exchange(_Streams(), b"", "mcp_1", is_plain=False)({}, anyio.sleep_forever, send)  # type: ignore[arg-type]
    assert sent[1]["body"] == b'data: {"text":"a\\u2028b"}\n\n'
    assert dict(sent[0]["headers"])[b"mcp-session-id"] == b"mcp_1"
