"""From a tool call to a session: opened once, replaced when it is over, told to the model."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from runner.dispatch import PythonTool
from runner.events import CallFinished, CodeStarted, FileMade, ToolEvent
from runner.tool import MalformedCall, chat_tool, parse_arguments, short_contents
from sandbox_service.client import SandboxClient, Unavailable
from tests.unit.fakes.rest_service import KEY, RestService


@pytest.fixture
def service() -> RestService:
    return RestService()


@pytest_asyncio.fixture
async def client(service: RestService) -> AsyncIterator[SandboxClient]:
    transport = httpx.ASGITransport(app=service)
    async with SandboxClient("http://service.test", KEY, transport=transport) as client:
        yield client


async def called(tool: PythonTool, code: str, name: str = "execute_python") -> list[ToolEvent]:
    arguments = httpx.Request("POST", "http://x", json={"code": code}).content.decode()
    return [event async for event in tool.call(name, arguments)]


def text_of(events: list[ToolEvent]) -> str:
    last = events[-1]
    assert isinstance(last, CallFinished)
    return last.shaped.text


async def test_nothing_is_opened_before_the_first_call(
    client: SandboxClient, service: RestService
) -> None:
    """A conversation without code costs no session."""
    async with PythonTool(client):
        pass
    assert service.requests == []


async def test_the_users_files_are_there_and_one_session_serves_all_calls(
    client: SandboxClient, service: RestService, tmp_path: Path
) -> None:
    """Uploaded when the session is opened, closed at the end."""
    source = tmp_path / "a.csv"
    source.write_bytes(b"1\n")
    async with PythonTool(client, {"a.csv": source}) as tool:
        await called(tool, "x = 1")
        assert text_of(await called(tool, "x + 1")) == "2"
        (session,) = service.sessions.values()
        assert session.files == {"a.csv": b"1\n"}
        assert session.gone is None
    assert session.gone == "session_closed"


async def test_a_replaced_session_has_the_files_again(
    client: SandboxClient, service: RestService, tmp_path: Path
) -> None:
    """The user's files and the latest version of those that the code made."""
    source = tmp_path / "a.csv"
    source.write_bytes(b"1\n")
    made = service.add_artifact("out/b.csv", b"2\n")
    service.patch = lambda execution: execution["artifacts"].append(made)
    async with PythonTool(client, {"a.csv": source}) as tool:
        events = await called(tool, "1")
        assert [type(event) for event in events].count(FileMade) == 1
        service.end_sessions("session_lost")
        text = text_of(await called(tool, "2"))
    assert text.startswith(
        "A new session was opened, since the one before is over: its sandbox failed. "
        "Variables and imports are gone; files restored: a.csv, out/b.csv.\n2"
    )
    assert list(service.sessions.values())[1].files == {"a.csv": b"1\n", "out/b.csv": b"2\n"}


async def test_the_news_of_a_new_session_is_told_once(
    client: SandboxClient, service: RestService
) -> None:
    """The call after it is an ordinary one."""
    async with PythonTool(client) as tool:
        await called(tool, "1")
        service.end_sessions("session_expired")
        await called(tool, "2")
        assert text_of(await called(tool, "3")) == "3"


async def test_code_whose_sandbox_is_lost_is_not_run_again(
    client: SandboxClient, service: RestService
) -> None:
    """The code may be the reason: the model is told, and the next call gets a new session."""
    lost = {"type": "unavailable_error", "code": "sandbox_lost", "message": "lost"}
    async with PythonTool(client) as tool:
        service.fail_with = lost
        text = text_of(await called(tool, "1"))
        assert text.startswith("The code did not finish: the session is over, its sandbox failed.")
        service.fail_with = None
        assert text_of(await called(tool, "2")).endswith("there are no files.\n2")
    assert len(service.sessions) == 2


async def test_a_failure_that_is_ours_is_raised(
    client: SandboxClient, service: RestService
) -> None:
    """The model cannot help it."""
    service.fail_with = {"type": "unavailable_error", "code": "unavailable", "message": "later"}
    async with PythonTool(client) as tool:
        with pytest.raises(Unavailable):
            await called(tool, "1")


async def test_an_unknown_tool_is_named(client: SandboxClient) -> None:
    """The model is told what there is."""
    async with PythonTool(client) as tool:
        events = await called(tool, "1", name="browser")
    assert text_of(events) == "There is no tool named 'browser'; the only one is execute_python."
    assert not any(isinstance(event, CodeStarted) for event in events)


@pytest.mark.parametrize(
    ("arguments", "wrong"),
    [
        ("print(1)", "not valid JSON"),
        ('{"code": "x', "not valid JSON"),
        ("", "not valid JSON"),
        ('"print(1)"', "not a JSON object"),
        ("{}", "'code' is missing or not a string"),
        ('{"code": 1}', "'code' is missing or not a string"),
        ('{"code": "1", "language": "python"}', "unknown argument 'language'"),
    ],
)
def test_malformed_arguments_say_what_was_wrong(arguments: str, wrong: str) -> None:
    """With the form that is right."""
    with pytest.raises(MalformedCall, match=wrong) as error:
        parse_arguments(arguments)
    assert '{"code": "<Python source>"}' in str(error.value)


def test_the_tool_is_strict() -> None:
    """What strict function calling asks of a schema."""
    function = chat_tool()["function"]
    parameters = function["parameters"]
    assert function["strict"] is True
    assert parameters["additionalProperties"] is False
    assert parameters["required"] == list(parameters["properties"]) == ["code"]


def test_the_packages_are_those_of_the_image_without_versions() -> None:
    """One line, the kernel's own packages left out."""
    listing = "Python 3.13 with:\n\n- the kernel: ipykernel 7\n- tables: numpy 2.5.5, pandas 3.1\n"
    assert short_contents(listing + "- fonts: DejaVu\n") == "tables: numpy, pandas; fonts: DejaVu."
