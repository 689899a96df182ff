"""The MCP tools' calls against the REST contract, with the session kept or named."""

import asyncio
import base64
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from mcp.shared.exceptions import MCPError
from mcp_types import CallToolResult, TextContent

from sandbox_service.client import NO_RETRIES, OutputChanged, SandboxClient
from sandbox_service.mcp.arguments import UploadLocalFile, WrongArguments
from sandbox_service.mcp.calls import Calls, Place
from sandbox_service.mcp.progress import MOST_CHARS, told_progress
from sandbox_service.mcp.sessions import KeptSession, NamedSessions
from sandbox_service.mcp.tools import Definition, definitions, tool_of
from sandbox_service.mcp.uploading import source_of
from tests.support.turns import others_run
from tests.unit.fakes.rest_service import KEY, RestService

TOOLS = {tool.name: tool for tool in definitions(has_folder=True)}


class Told:
    """Takes reports, each as slowly as it is told to."""

    def __init__(self, takes_s: float = 0) -> None:
        self.seconds: list[float] = []
        self.messages: list[str] = []
        self._takes_s = takes_s

    async def __call__(self, seconds: float, message: str) -> None:
        self.seconds.append(seconds)
        self.messages.append(message)
        await asyncio.sleep(self._takes_s)


@pytest.fixture
def service() -> RestService:
    return RestService()


@pytest_asyncio.fixture
async def client(service: RestService) -> AsyncIterator[SandboxClient]:
    transport = httpx.ASGITransport(app=service)
    async with SandboxClient("http://s.test", KEY, transport=transport, retries=NO_RETRIES) as it:
        yield it


@pytest.fixture
def kept(client: SandboxClient) -> Calls:
    """As over stdio."""
    return Calls(Place(client, KeptSession(client), "http://s.test", keeps_session=True), Told())


@pytest.fixture
def named(client: SandboxClient) -> Calls:
    """As over HTTP."""
    return Calls(Place(client, NamedSessions(client), "http://s.test", keeps_session=False), Told())


async def run(calls: Calls, code: str, **arguments: Any) -> CallToolResult:
    return await calls.call(TOOLS["execute_python"], {"code": code, **arguments})


def text_of(result: CallToolResult) -> str:
    return "\n".join(block.text for block in result.content if isinstance(block, TextContent))


async def test_calls_without_a_session_share_the_kept_one(
    kept: Calls, service: RestService
) -> None:
    await run(kept, "x = 41")
    assert text_of(await run(kept, "x + 1")).startswith("42")
    assert len(service.sessions) == 1


async def test_two_first_calls_at_once_open_one_session(kept: Calls, service: RestService) -> None:
    await asyncio.gather(run(kept, "1"), run(kept, "2"))
    assert len(service.sessions) == 1


async def test_a_kept_session_that_is_over_is_replaced_with_its_files_and_a_word(
    kept: Calls, service: RestService
) -> None:
    made = service.add_artifact("made.csv", b"made")
    service.patch = lambda execution: execution["artifacts"].append(made)
    await kept.call(TOOLS["upload_file"], {"path": "sent.txt", "text": "sent"})
    await run(kept, "x = 1")
    service.patch = None
    service.end_sessions("session_expired")
    after = await run(kept, "x")
    assert text_of(after).startswith(
        "A new session was opened, since the one before is over: it was not used for too long. "
        "Variables and imports are gone; files restored: sent.txt, made.csv."
    )
    assert "NameError" in text_of(after)
    assert service.sessions["sess_2"].files == {"sent.txt": b"sent", "made.csv": b"made"}
    assert "A new session" not in text_of(await run(kept, "1"))


async def test_the_id_of_a_replaced_session_means_the_kept_one(
    kept: Calls, service: RestService
) -> None:
    await run(kept, "1")
    service.end_sessions("session_expired")
    await run(kept, "1")
    result = await run(kept, "1", session_id="sess_1")
    assert result.structured_content["session_id"] == "sess_2"


async def test_a_session_that_was_named_is_not_replaced(kept: Calls, service: RestService) -> None:
    service._open({})
    service.end_sessions("session_closed")
    result = await run(kept, "1", session_id="sess_1")
    assert result.is_error
    assert "The session is over: it was closed." in text_of(result)
    assert len(service.sessions) == 1


async def test_code_that_had_begun_is_not_run_again(kept: Calls, service: RestService) -> None:
    await run(kept, "runs = 0")
    service.fail_with = {"type": "gone_error", "code": "session_lost", "message": "lost"}
    result = await run(kept, "runs += 1")
    service.fail_with = None
    assert "The code did not finish: the session is over, its sandbox failed." in text_of(result)
    assert len(service.sessions) == 1
    assert "A new session was opened" in text_of(await run(kept, "1"))


async def test_without_a_kept_session_each_call_opens_one_and_names_it(
    named: Calls, service: RestService
) -> None:
    first = await run(named, "x = 1")
    await run(named, "x = 2")
    again = await run(named, "x", session_id=first.structured_content["session_id"])
    assert text_of(again).startswith("1\n")
    assert len(service.sessions) == 2


async def test_a_session_that_nobody_can_know_of_is_closed(
    named: Calls, service: RestService
) -> None:
    service.fail_with = {"type": "unavailable_error", "code": "unavailable", "message": "no"}
    with pytest.raises(MCPError):
        await run(named, "1")
    assert service.sessions["sess_1"].gone == "session_closed"


async def test_code_that_may_run_on_keeps_its_session(named: Calls, service: RestService) -> None:
    service.break_after = 1
    result = await run(named, "1")
    assert "may be running still" in text_of(result)
    assert "session_id: sess_1" in text_of(result)
    assert service.sessions["sess_1"].gone is None


@pytest.mark.parametrize("tool", ["list_files", "read_file", "reset"])
async def test_what_needs_a_session_does_not_open_one(
    named: Calls, service: RestService, tool: str
) -> None:
    arguments = {"path": "a"} if tool == "read_file" else {}
    result = await named.call(TOOLS[tool], arguments)
    assert result.is_error
    assert "session_id: name that of an earlier result" in text_of(result)
    assert service.sessions == {}


WRONG = [
    ("execute_python", {}, "code: Field required"),
    ("execute_python", {"code": 1}, "code: Input should be a valid string"),
    ("execute_python", {"code": "1", "shell": "sh"}, "shell: Extra inputs are not permitted"),
    ("execute_python", {"code": "\ud800"}, "code: holds characters that are no text"),
    ("execute_python", {"code": "1", "session_id": "../x"}, "is not the id of a session"),
    ("execute_python", {"code": "1", "timeout_s": -1}, "timeout_s:"),
    ("upload_file", {"path": "/etc/passwd"}, "path: The path is absolute"),
    ("upload_file", {"path": "a/../../b"}, "path: The path has a `.` or `..` part"),
    ("upload_file", {"path": "a", "base64": "%"}, "base64:"),
    ("upload_file", {"path": "a", "text": "1", "base64": "MQ=="}, "one content, not several"),
    ("read_file", {"path": "none.txt"}, "There is no file none.txt in /mnt/data"),
]


@pytest.mark.parametrize(("tool", "arguments", "fault"), WRONG)
async def test_wrong_arguments_are_told_to_the_model(
    kept: Calls, tool: str, arguments: dict[str, Any], fault: str
) -> None:
    result = await kept.call(TOOLS[tool], arguments)
    assert result.is_error
    assert fault in text_of(result)


async def test_null_is_the_same_as_left_out(kept: Calls) -> None:
    result = await run(kept, "1", session_id=None, timeout_s=None)
    assert not result.is_error


@pytest.mark.parametrize("name", ["a.txt", "/mnt/data/a.txt", "sandbox:/mnt/data/a.txt", "./a.txt"])
async def test_files_may_be_named_as_the_model_sees_them(
    kept: Calls, service: RestService, name: str
) -> None:
    content = base64.b64encode(b"\0\1").decode()
    result = await kept.call(TOOLS["upload_file"], {"path": name, "base64": content})
    assert result.structured_content["path"] == "a.txt"
    assert service.sessions["sess_1"].files == {"a.txt": b"\0\1"}


async def test_a_long_listing_is_cut_and_says_how_much_there_is(
    kept: Calls, service: RestService
) -> None:
    await run(kept, "1")
    service.sessions["sess_1"].files = {f"{number}": b"" for number in range(700)}
    result = await kept.call(TOOLS["list_files"], {})
    assert result.structured_content["count"] == 700
    assert len(result.structured_content["files"]) == 500
    assert "[... 200 more ...]" in text_of(result)


async def test_a_file_too_large_to_be_fetched_is_a_link(kept: Calls, service: RestService) -> None:
    await run(kept, "1")
    service.sessions["sess_1"].files = {"big.bin": bytes(9_000_000)}
    result = await kept.call(TOOLS["read_file"], {"path": "big.bin"})
    assert result.structured_content["kind"] == "too_large"
    assert "GET /v1/sessions/sess_1/files/big.bin" not in service.requests


@pytest.mark.parametrize("tool", definitions(), ids=lambda tool: tool.name)
@pytest.mark.parametrize("keeps_session", [True, False])
def test_every_tool_takes_a_session_and_says_what_it_answers(
    tool: Definition, keeps_session: bool
) -> None:
    listed = tool_of(tool, keeps_session=keeps_session)
    assert listed.input_schema["properties"]["session_id"]["description"]
    assert listed.input_schema["additionalProperties"] is False
    assert listed.output_schema is not None
    assert "session_id" in listed.output_schema["required"]
    assert listed.annotations is not None
    assert listed.annotations.open_world_hint is False


def test_only_files_of_the_shared_folder_can_be_uploaded(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    (shared / "in").mkdir(parents=True)
    (shared / "in" / "a.csv").write_text("a")
    (tmp_path / "b.txt").write_text("b")
    (shared / "link").symlink_to(tmp_path / "b.txt")

    def asked(name: str) -> UploadLocalFile:
        return UploadLocalFile(path="x", local_path=name)

    assert source_of(asked("in/a.csv"), shared) == shared / "in" / "a.csv"
    assert source_of(asked(str(shared / "in" / "a.csv")), shared) == shared / "in" / "a.csv"
    for name in ("../b.txt", str(tmp_path / "b.txt"), "link", "in", "none", "a\0b"):
        with pytest.raises(WrongArguments, match="Nothing was uploaded"):
            source_of(asked(name), shared)


def printed(text: str) -> OutputChanged:
    output = {"output_type": "stream", "name": "stdout", "text": text}
    return OutputChanged(1, "extend", 0, output)


async def test_a_burst_of_output_is_told_together_and_its_end_at_the_latest() -> None:
    told = Told()
    async with told_progress(told) as progress:
        for number in range(1000):
            progress.add(printed(f"{number}\n"))
            await asyncio.sleep(0)
    assert len(told.messages) < 10
    assert "".join(told.messages).endswith("998\n999\n")
    assert told.seconds == sorted(set(told.seconds))


async def test_a_slow_client_holds_nothing_up_and_gets_the_end_of_what_it_missed() -> None:
    told = Told(takes_s=0.05)
    async with told_progress(told) as progress:
        for _ in range(20):
            progress.add(printed("x" * 1000))
            await asyncio.sleep(0)
    assert max(map(len, told.messages)) <= MOST_CHARS


async def test_progress_is_not_told_after_a_failure() -> None:
    told = Told()
    with pytest.raises(RuntimeError):
        async with told_progress(told) as progress:
            progress.add(printed("1"))
            raise RuntimeError
    await others_run()
    assert told.messages == []


@pytest.mark.parametrize("steps", range(6))
async def test_output_that_comes_with_the_end_does_not_hold_the_end_up(steps: int) -> None:
    """Once the cancellation of the telling was lost when it met the news that it waited for."""
    told = Told()
    async with asyncio.timeout(60), told_progress(told) as progress:
        await others_run()
        progress.add(printed("last"))
        for _ in range(steps):
            await asyncio.sleep(0)
    assert "".join(told.messages) == "last"
