"""The MCP tools through the real client: over stdio and HTTP, in both protocol eras."""

import asyncio
import base64
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import httpx2
import pytest
from mcp import Client, MCPError, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client
from mcp_types import (
    INVALID_PARAMS,
    INVALID_REQUEST,
    CallToolResult,
    EmbeddedResource,
    ImageContent,
    ResourceLink,
    TextContent,
)
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS, MODERN_PROTOCOL_VERSIONS

from tests.support.service import ServiceProcess

WAYS = [("stdio", "auto"), ("stdio", "legacy"), ("http", "auto"), ("http", "legacy")]
KEPT = [way for way in WAYS if way[0] == "stdio"]
NAMED = [way for way in WAYS if way[0] == "http"]
every_way = pytest.mark.parametrize("way", WAYS, ids="-".join)
each_once = pytest.mark.parametrize("way", [WAYS[0], WAYS[3]], ids="-".join)
over_stdio = pytest.mark.parametrize("way", KEPT, ids="-".join)
over_http = pytest.mark.parametrize("way", NAMED, ids="-".join)

CHART = """
import matplotlib.pyplot as plt
plt.plot([1, 4, 9])
plt.show()
open('days.csv', 'w').write('day,rain\\n1,2\\n')
"""
PRINTING = """
import time
count = 0
for count in range(600):
    print('line', count, flush=True)
    time.sleep(0.1)
"""


@pytest.fixture(autouse=True)
async def _nothing_left_open(place: ServiceProcess) -> AsyncIterator[None]:
    """Over HTTP sessions outlive their clients: here they end with the test."""
    yield
    for key in (place.key, place.other_key):
        async with place.client(key) as api:
            for session in (await api.get("/v1/sessions", params={"limit": 100})).json()["data"]:
                await api.delete(f"/v1/sessions/{session['id']}")


@dataclass
class Told:
    """The progress that a client was told, and when."""

    seconds: list[float] = field(default_factory=list)
    text: str = ""
    came: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(self, progress: float, total: float | None, message: str | None) -> None:
        self.seconds.append(progress)
        self.text += message or ""
        self.came.set()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    """A service that runs cells as plain processes: quick, and the tools cannot tell."""
    directory = tmp_path_factory.mktemp("mcp")
    with ServiceProcess(directory, "unsafe_local", SANDBOX_POOL_SIZE="2") as process:
        yield process


@contextlib.asynccontextmanager
async def connected(
    place: ServiceProcess, way: tuple[str, str], key: str | None = None, *arguments: str
) -> AsyncIterator[Client]:
    """The real client, connected as an assistant would connect it."""
    transport, mode = way
    if transport == "stdio":
        async with Client(stdio_server(place, key, *arguments), mode=mode) as client:
            yield client
        return
    headers = {"Authorization": f"Bearer {key or place.key}"}
    async with httpx2.AsyncClient(headers=headers, timeout=60) as http:
        over_http = streamable_http_client(f"{place.url}/mcp", http_client=http)
        async with Client(over_http, mode=mode) as client:
            yield client


def stdio_server(
    place: ServiceProcess, key: str | None = None, *arguments: str
) -> StdioServerParameters:
    environment = {"SANDBOX_URL": place.url, "SANDBOX_API_KEY": key or place.key}
    return StdioServerParameters(
        command=sys.executable,
        args=["-m", "sandbox_service", "mcp", *arguments],
        env=environment,
        cwd=Path.cwd(),
    )


async def run(client: Client, code: str, **arguments: Any) -> CallToolResult:
    return await client.call_tool("execute_python", {"code": code, **arguments})


def text_of(result: CallToolResult) -> str:
    return "\n".join(block.text for block in result.content if isinstance(block, TextContent))


def only(result: CallToolResult, kind: type[Any]) -> Any:
    (found,) = [block for block in result.content if isinstance(block, kind)]
    return found


def named(client_way: tuple[str, str], session_id: str) -> dict[str, str]:
    """What goes on with a session: over stdio nothing, since one is kept."""
    return {} if client_way[0] == "stdio" else {"session_id": session_id}


@every_way
async def test_each_era_is_spoken_and_the_tools_are_listed(
    place: ServiceProcess, way: tuple[str, str]
) -> None:
    async with connected(place, way) as client:
        versions = MODERN_PROTOCOL_VERSIONS if way[1] == "auto" else HANDSHAKE_PROTOCOL_VERSIONS
        assert client.protocol_version in versions
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
    names = ["execute_python", "list_files", "read_file", "reset", "upload_file"]
    assert sorted(tools) == names
    assert "code" in tools["execute_python"].input_schema["required"]
    needs_session = "session_id" in tools["reset"].input_schema.get("required", ())
    assert needs_session == (way[0] == "http")


@every_way
async def test_state_stays_in_the_session_that_a_result_names(
    place: ServiceProcess, way: tuple[str, str]
) -> None:
    async with connected(place, way) as client:
        first = (await run(client, "x = 41")).structured_content
        second = await run(client, "x + 1", **named(way, first["session_id"]))
    assert second.structured_content["session_id"] == first["session_id"]
    assert second.structured_content["state"] == "kept"
    assert second.structured_content["status"] == "ok"
    assert second.structured_content["epoch"] == first["epoch"]
    assert text_of(second) == f"42\nsession_id: {first['session_id']}"
    assert not second.is_error


@every_way
async def test_a_chart_is_an_image_and_a_file_is_a_link_that_works(
    place: ServiceProcess, way: tuple[str, str]
) -> None:
    async with connected(place, way) as client:
        result = await run(client, CHART)
        link = only(result, ResourceLink)
        [read] = (await client.read_resource(link.uri)).contents
    assert (read.uri, read.mime_type, read.text) == (link.uri, "text/csv", "day,rain\n1,2\n")
    image = only(result, ImageContent)
    assert image.mime_type == "image/png"
    content = base64.b64decode(image.data)
    assert content.startswith(b"\x89PNG")
    assert len(content) < 600_000
    assert image.data[:60] not in text_of(result)
    assert image.data[:60] not in json.dumps(result.structured_content)
    assert (link.name, link.size, link.mime_type) == ("days.csv", 13, "text/csv")
    async with httpx.AsyncClient() as anyone:
        answer = await anyone.get(link.uri)
    assert answer.text == "day,rain\n1,2\n"
    assert result.structured_content["artifacts"][0]["url"] == link.uri


@every_way
async def test_output_is_told_while_the_cell_still_prints(
    place: ServiceProcess, way: tuple[str, str]
) -> None:
    told = Told()
    code = (
        "import os, time\nfor i in range(4):\n    print('step', i, flush=True)\n"
        "    while i == 0 and not os.path.exists('go'): time.sleep(0.01)"
    )
    async with connected(place, way) as client, place.client() as api:
        session_id = (await run(client, "1")).structured_content["session_id"]
        call = client.call_tool(
            "execute_python", {"code": code, **named(way, session_id)}, progress_callback=told
        )
        running = asyncio.create_task(call)
        await asyncio.wait_for(told.came.wait(), 60)
        assert not running.done()
        assert "step 0" in told.text
        assert "step 3" not in told.text
        await api.put(f"/v1/sessions/{session_id}/files/go", content=b"")
        result = await running
    assert all(f"step {number}" in told.text for number in range(4))
    assert told.seconds == sorted(set(told.seconds))
    assert "step 3" in text_of(result)


@every_way
async def test_a_cancelled_call_stops_the_cell_and_variables_are_still_there(
    place: ServiceProcess, way: tuple[str, str]
) -> None:
    told = Told()
    async with connected(place, way) as client:
        session_id = (await run(client, "before = 1")).structured_content["session_id"]
        session = named(way, session_id)
        arguments = {"code": PRINTING, **session}
        call = client.call_tool("execute_python", arguments, progress_callback=told)
        running = asyncio.create_task(call)
        await asyncio.wait_for(told.came.wait(), 60)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        after = await run(client, "(before, count)", **session)
    assert after.structured_content["state"] == "kept"
    assert after.structured_content["session_id"] == session_id
    before, count = json.loads(text_of(after).splitlines()[0].replace("(", "[").replace(")", "]"))
    assert before == 1
    assert count < 599


@each_once
async def test_what_went_wrong_in_the_code_is_a_result_marked_as_an_error(
    place: ServiceProcess, way: tuple[str, str]
) -> None:
    async with connected(place, way) as client:
        failed = await run(client, "import json\nkept = 1\njson.loads('{')")
        session = named(way, failed.structured_content["session_id"])
        slow = await run(client, "import time\ntime.sleep(60)", timeout_s=1, **session)
        after = await run(client, "kept", **session)
    assert failed.is_error
    assert failed.structured_content["status"] == "error"
    assert "JSONDecodeError" in text_of(failed)
    assert "\x1b" not in text_of(failed)
    assert slow.is_error
    assert slow.structured_content["status"] == "timeout"
    assert text_of(after).startswith("1\n")


@each_once
async def test_files_go_in_and_come_out(place: ServiceProcess, way: tuple[str, str]) -> None:
    png = base64.b64encode(_png()).decode()
    async with connected(place, way) as client:
        sent = {"path": "/mnt/data/in/a.csv", "text": "a,b\n1,2\n"}
        uploaded = await client.call_tool("upload_file", sent)
        session = named(way, uploaded.structured_content["session_id"])
        await client.call_tool("upload_file", {"path": "dot.png", "base64": png, **session})
        await run(client, "open('raw.bin', 'wb').write(bytes(range(256)) * 4)", **session)
        await run(client, "open('big.bin', 'wb').write(bytes(9_000_000))", **session)
        listed = await client.call_tool("list_files", {**session})
        read = {
            name: await client.call_tool("read_file", {"path": name, **session})
            for name in ("in/a.csv", "dot.png", "raw.bin", "big.bin")
        }
        summed = await run(client, "open('in/a.csv').read()", **session)
        link = only(read["big.bin"], ResourceLink)
        async with place.client() as api:
            assert len((await api.get(link.uri)).content) == link.size == 9_000_000
    assert uploaded.structured_content["path"] == "in/a.csv"
    assert "'a,b\\n1,2\\n'" in text_of(summed)
    sizes = {item["path"]: item["size"] for item in listed.structured_content["files"]}
    assert (sizes["in/a.csv"], sizes["raw.bin"], sizes["big.bin"]) == (8, 1024, 9_000_000)
    assert text_of(read["in/a.csv"]).startswith("a,b\n1,2\n")
    assert only(read["dot.png"], ImageContent).data == png
    blob = only(read["raw.bin"], EmbeddedResource).resource.blob
    assert base64.b64decode(blob) == bytes(range(256)) * 4


@each_once
async def test_reset_forgets_variables_and_keeps_files(
    place: ServiceProcess, way: tuple[str, str]
) -> None:
    async with connected(place, way) as client:
        first = await run(client, "x = 1\nopen('kept.txt', 'w').write('still here')")
        session = named(way, first.structured_content["session_id"])
        anew = await client.call_tool("reset", {**session})
        after = await run(client, "print(open('kept.txt').read())\nx", **session)
    assert anew.structured_content["epoch"] == first.structured_content["epoch"] + 1
    assert anew.structured_content["state"] == "reset"
    assert "still here" in text_of(after)
    assert "NameError" in text_of(after)


@each_once
async def test_a_call_that_is_wrong_is_told_to_the_model(
    place: ServiceProcess, way: tuple[str, str]
) -> None:
    async with connected(place, way) as client:
        no_code = await client.call_tool("execute_python", {"source": "1"})
        no_session = await run(client, "1", session_id="sess_none")
        session_id = (await run(client, "1")).structured_content["session_id"]
        no_file = await client.call_tool("read_file", {"path": "no.txt", "session_id": session_id})
        with pytest.raises(MCPError, match="There is no tool 'rm'") as unknown:
            await client.call_tool("rm", {})
    assert no_code.is_error
    assert "code: Field required" in text_of(no_code)
    assert no_session.is_error
    assert "No session sess_none" in text_of(no_session)
    assert "no file no.txt" in text_of(no_file)
    assert unknown.value.code == INVALID_PARAMS


@each_once
async def test_another_tenants_session_is_not_found(
    place: ServiceProcess, way: tuple[str, str]
) -> None:
    async with connected(place, way) as client, connected(place, way, place.other_key) as other:
        session_id = (await run(client, "secret = 4711")).structured_content["session_id"]
        stolen = await run(other, "secret", session_id=session_id)
        own = await run(other, "'secret' in globals()")
    assert stolen.is_error
    assert f"No session {session_id}" in text_of(stolen)
    assert "4711" not in text_of(stolen)
    assert text_of(own).startswith("False")


@each_once
async def test_what_results_link_to_is_read_by_its_address_with_the_callers_key(
    place: ServiceProcess, way: tuple[str, str]
) -> None:
    """Every byte; not by another tenant, though the link would open it; not what is too large to be held."""
    made = "open('raw.bin', 'wb').write(bytes(range(256)) * 4000)"
    big = "open('big.bin', 'wb').write(bytes(9_000_000))"
    async with connected(place, way) as client, connected(place, way, place.other_key) as other:
        artifact = only(await run(client, made), ResourceLink)
        too_large = only(result := await run(client, big), ResourceLink)
        session = named(way, result.structured_content["session_id"])
        await run(client, made, **session)
        file = only(
            await client.call_tool("read_file", {"path": "raw.bin", **session}), ResourceLink
        )
        for link in (artifact, file):
            [read] = (await client.read_resource(link.uri)).contents
            assert base64.b64decode(read.blob) == bytes(range(256)) * 4000
        for link in (artifact, file):
            with pytest.raises(MCPError, match="There is no resource"):
                await other.read_resource(link.uri)
        with pytest.raises(MCPError, match="at most"):
            await client.read_resource(too_large.uri)
        for uri in ("file:///etc/passwd", f"{place.url}/v1/sessions", "nonsense"):
            with pytest.raises(MCPError, match="There is no resource"):
                await client.read_resource(uri)
        assert (await client.list_resources()).resources == []


@over_stdio
async def test_over_stdio_a_session_that_expired_is_replaced_with_its_files_and_a_word(
    place: ServiceProcess, way: tuple[str, str]
) -> None:
    async with connected(place, way) as client, place.client() as api:
        await client.call_tool("upload_file", {"path": "sent.txt", "text": "sent"})
        first = await run(client, "x = 1\nopen('made.txt', 'w').write('made')")
        old = first.structured_content["session_id"]
        assert (await api.delete(f"/v1/sessions/{old}")).is_success
        after = await run(client, "print(open('sent.txt').read(), open('made.txt').read())")
        by_old_name = await run(client, "1", session_id=old)
    said = text_of(after)
    assert said.startswith("A new session was opened, since the one before is over: it was closed.")
    assert "Variables and imports are gone; files restored: sent.txt, made.txt." in said
    assert "sent made" in said
    assert after.structured_content["session_id"] != old
    assert not by_old_name.is_error
    assert "A new session" not in text_of(by_old_name)


@over_http
async def test_over_http_a_session_that_is_over_is_told_and_a_new_one_is_offered(
    place: ServiceProcess, way: tuple[str, str]
) -> None:
    async with connected(place, way) as client, place.client() as api:
        old = (await run(client, "x = 1")).structured_content["session_id"]
        await api.delete(f"/v1/sessions/{old}")
        after = await run(client, "x", session_id=old)
        nameless = await client.call_tool("list_files", {})
    assert after.is_error
    assert "it was closed" in text_of(after)
    assert "Leave session_id out" in text_of(after)
    assert "session_id" in text_of(nameless)


async def test_over_stdio_the_session_is_closed_when_the_client_leaves(
    place: ServiceProcess,
) -> None:
    async with connected(place, ("stdio", "auto")) as client:
        session_id = (await run(client, "1")).structured_content["session_id"]
    async with place.client() as api:
        assert (await api.get(f"/v1/sessions/{session_id}")).json()["status"] == "closed"


async def test_over_stdio_files_of_the_shared_folder_only_can_be_uploaded(
    place: ServiceProcess, tmp_path: Path
) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    (shared / "sales.csv").write_text("1,2\n")
    (tmp_path / "private.txt").write_text("private")
    (shared / "link.txt").symlink_to(tmp_path / "private.txt")
    async with connected(place, ("stdio", "auto"), None, "--files", str(shared)) as client:
        good = await client.call_tool(
            "upload_file", {"path": "sales.csv", "local_path": "sales.csv"}
        )
        refused = [
            await client.call_tool("upload_file", {"path": "x", "local_path": name})
            for name in ("../private.txt", str(tmp_path / "private.txt"), "link.txt", "none", "")
        ]
    assert good.structured_content["size"] == 4
    assert [result.is_error for result in refused] == [True, True, True, True, False]


async def test_stdout_carries_nothing_but_the_protocol_and_a_signal_closes_the_session(
    place: ServiceProcess,
) -> None:
    server = stdio_server(place)
    process = await asyncio.create_subprocess_exec(
        server.command,
        *server.args,
        env={**os.environ, **(server.env or {})},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(b"".join(json.dumps(message).encode() + b"\n" for message in _handshake()))
    answers = [json.loads(await process.stdout.readline()) for _ in range(2)]
    session_id = answers[1]["result"]["structuredContent"]["session_id"]
    process.send_signal(signal.SIGTERM)
    rest, log = await asyncio.wait_for(process.communicate(), 60)
    assert rest == b""
    assert b"service_reached" in log
    assert process.returncode == 128 + signal.SIGTERM
    async with place.client() as api:
        assert (await api.get(f"/v1/sessions/{session_id}")).json()["status"] == "closed"


async def test_a_service_that_is_away_is_an_error_in_plain_words(place: ServiceProcess) -> None:
    server = stdio_server(place)
    away = server.model_copy(
        update={"env": {"SANDBOX_URL": "http://127.0.0.1:1", "SANDBOX_API_KEY": "key"}}
    )
    async with Client(away) as client:
        with pytest.raises(MCPError, match=r"no answer from http://127\.0\.0\.1:1"):
            await run(client, "1")


async def test_a_wrong_key_is_an_error_with_the_services_words(place: ServiceProcess) -> None:
    async with connected(place, ("stdio", "auto"), "wrong") as client:
        with pytest.raises(MCPError, match="The API key is not valid") as failure:
            await run(client, "1")
    assert failure.value.code == INVALID_REQUEST
    assert failure.value.data["code"] == "invalid_api_key"
    async with httpx.AsyncClient() as anyone:
        answer = await anyone.post(f"{place.url}/mcp", json=_handshake()[0])
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Bearer")


@over_http
async def test_a_key_may_do_over_mcp_what_it_may_do_over_rest(
    place: ServiceProcess, way: tuple[str, str]
) -> None:
    made = place.command("keys", "create", "--tenant", "first", "--scope", "execute")
    async with connected(place, way, made.stdout.strip()) as client:
        session_id = (await run(client, "1")).structured_content["session_id"]
        with pytest.raises(MCPError, match="does not have the scope 'files'"):
            await client.call_tool("list_files", {"session_id": session_id})


async def test_what_is_done_over_mcp_is_in_the_audit_log_with_its_caller(
    place: ServiceProcess,
) -> None:
    async with connected(place, ("http", "auto")) as client:
        session_id = (await run(client, "1")).structured_content["session_id"]
    async with asyncio.timeout(60):
        while not (about := told_of(place, session_id)):
            await asyncio.sleep(0.05)
    assert {entry["tenant"] for entry in about} == {"first"}
    assert all(entry["address"] == "127.0.0.1" for entry in about if "address" in entry)


def told_of(place: ServiceProcess, session_id: str) -> list[dict[str, Any]]:
    """The audit log's entries about a session."""
    log = "".join(path.read_text() for path in (place.directory / "data").rglob("*.jsonl"))
    return [json.loads(line) for line in log.splitlines() if session_id in line]


async def test_a_web_page_of_another_origin_is_refused(place: ServiceProcess) -> None:
    headers = {"Accept": "application/json, text/event-stream"}
    async with place.client() as api:
        api.headers.update(headers)
        statuses = {
            origin: (
                await api.post("/mcp", json=_handshake()[0], headers={"Origin": origin})
            ).status_code
            for origin in (f"http://localhost:{place.port}", place.url, "http://evil.example")
        }
        rebound = {"Origin": "http://evil.example", "Host": "evil.example"}
        assert (await api.post("/mcp", json=_handshake()[0], headers=rebound)).status_code == 403
    assert list(statuses.values()) == [200, 200, 403]


def _handshake() -> list[dict[str, Any]]:
    about = {"protocolVersion": "2025-06-18", "capabilities": {}}
    client = {"clientInfo": {"name": "test", "version": "1"}}
    call = {"name": "execute_python", "arguments": {"code": "print('hello')"}}
    return [
        {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {**about, **client}},
        {"jsonrpc": "2.0", "method": "notifications/initialized"},
        {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": call},
    ]


def _png() -> bytes:
    from io import BytesIO

    from PIL import Image

    file = BytesIO()
    Image.new("RGB", (8, 8), "red").save(file, "PNG")
    return file.getvalue()
