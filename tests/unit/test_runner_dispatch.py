"""From a tool call to a session: opened once, replaced when it is over, told to the model."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from runner.dispatch import PythonTool
from runner.events import CallFinished, CodeStarted, FileMade, OutputSeen, ToolEvent
from runner.tool import MalformedCall, chat_tool, parse_arguments, short_contents
from sandbox_service.client import SandboxClient, ServiceUnreachable, Unavailable
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


async def test_a_file_that_cannot_be_restored_is_named(
    client: SandboxClient, service: RestService, tmp_path: Path
) -> None:
    """A given file that is there no longer, and one that the code made too large."""
    source = tmp_path / "a.csv"
    source.write_bytes(b"1\n")
    large = service.add_artifact("large.bin", b"") | {"size": 10**9}
    service.patch = lambda execution: execution["artifacts"].append(large)
    async with PythonTool(client, [source]) as tool:
        await called(tool, "1")
        source.unlink()
        service.end_sessions("session_lost")
        text = text_of(await called(tool, "2"))
    assert "there are no files, not restored: a.csv, large.bin.\n2" in text


async def test_a_session_that_could_not_be_filled_is_not_left_behind(
    client: SandboxClient, service: RestService, tmp_path: Path
) -> None:
    """Closed at once; the next call begins anew."""
    source = tmp_path / "a.csv"
    tool = PythonTool(client, [source])
    with pytest.raises(FileNotFoundError):
        await called(tool, "1")
    assert [session.gone for session in service.sessions.values()] == ["session_closed"]
    source.write_bytes(b"1\n")
    assert text_of(await called(tool, "1")) == "1"
    assert list(service.sessions.values())[1].files == {"a.csv": b"1\n"}


async def test_a_file_can_be_added_at_any_time(
    client: SandboxClient, service: RestService, tmp_path: Path
) -> None:
    """Before the first call, to the live session, and it is restored like the others."""
    (tmp_path / "a.csv").write_bytes(b"1")
    (tmp_path / "b.csv").write_bytes(b"2")
    tool = PythonTool(client)
    await tool.add_file(tmp_path / "a.csv")
    await called(tool, "1")
    await tool.add_file(tmp_path / "b.csv", "second.csv")
    assert service.sessions["sess_1"].files == {"a.csv": b"1", "second.csv": b"2"}
    service.end_sessions("session_expired")
    await tool.add_file(tmp_path / "b.csv", "third.csv")
    assert "files restored: a.csv, second.csv, third.csv." in text_of(await called(tool, "1"))


async def test_calls_made_together_share_one_session_and_keep_their_order(
    client: SandboxClient, service: RestService
) -> None:
    """Frameworks start the calls of one reply at the same time."""
    async with PythonTool(client) as tool:
        codes = ["x = 1", "x = x + 1", "x = x * 10", "x"]
        finished = await asyncio.gather(*(tool.run({"code": code}) for code in codes))
    assert finished[-1].shaped.text == "20"
    assert len(service.sessions) == 1


async def test_a_call_returns_how_it_ended_and_tells_what_happens_meanwhile(
    client: SandboxClient, service: RestService
) -> None:
    """`run` for who needs no events, `on_event` for who shows them."""
    seen: list[ToolEvent] = []
    made = service.add_artifact("b.csv", b"2\n")
    service.patch = lambda execution: execution["artifacts"].append(made)
    async with PythonTool(client, on_event=seen.append) as tool:
        finished = await tool.run('{"code": "print(7)"}')
        assert tool.linked("[b](sandbox:/mnt/data/b.csv)") == f"[b]({made['url']})"
        assert list(tool.results.artifacts) == ["b.csv"]
    assert finished.result is not None
    assert [type(event) for event in seen] == [CodeStarted, OutputSeen, FileMade, CallFinished]
    assert seen[-1] == finished


async def test_a_conversation_goes_on_in_another_process(
    client: SandboxClient, service: RestService
) -> None:
    """Its state is plain JSON; the session is neither closed nor opened again."""
    async with PythonTool(client, keep_session=True) as tool:
        await called(tool, "n = 41")
        state = json.loads(json.dumps(tool.state()))
    async with PythonTool.from_state(state, client) as tool:
        assert text_of(await called(tool, "n + 1")) == "42"
    assert [session.gone for session in service.sessions.values()] == [None]
    assert len(service.sessions) == 1


async def test_a_conversation_whose_session_is_over_gets_its_files_in_another_process(
    client: SandboxClient, service: RestService, tmp_path: Path
) -> None:
    """Given files, one of them from its new place, and what the code had made; links too."""
    for name in ("a.csv", "b.csv"):
        (tmp_path / name).write_bytes(name.encode())
    made = service.add_artifact("out/c.csv", b"c")
    service.patch = lambda execution: execution["artifacts"].append(made)
    async with PythonTool(client, [tmp_path / "a.csv", tmp_path / "b.csv"]) as tool:
        await called(tool, "1")
        state = tool.state()
    (tmp_path / "b.csv").rename(tmp_path / "moved.csv")
    files = {"b.csv": tmp_path / "moved.csv"}
    async with PythonTool.from_state(state, client, files=files) as tool:
        assert tool.linked("sandbox:/mnt/data/out/c.csv") == made["url"]
        text = text_of(await called(tool, "2"))
    assert (
        "it was closed. Variables and imports are gone; files restored: a.csv, b.csv, out/c.csv."
        in text
    )
    assert service.sessions["sess_2"].files == {
        "a.csv": b"a.csv",
        "b.csv": b"b.csv",
        "out/c.csv": b"c",
    }


async def test_links_of_files_made_long_ago_can_be_renewed(
    client: SandboxClient, service: RestService
) -> None:
    """What is kept no longer keeps its old link."""
    made = [service.add_artifact(f"{name}.csv", b"1") for name in ("kept", "gone")]
    service.patch = lambda execution: execution["artifacts"].extend(made)
    async with PythonTool(client) as tool:
        await called(tool, "1")
        state = tool.state()
    service.described["art_1"] = made[0] | {"url": "http://service.test/new"}
    del service.described["art_2"]
    again = PythonTool.from_state(state, client)
    await again.refresh_links()
    assert again.linked("sandbox:/mnt/data/kept.csv") == "http://service.test/new"
    assert again.linked("sandbox:/mnt/data/gone.csv") == made[1]["url"]


async def test_news_that_the_model_has_not_heard_yet_outlive_the_process(
    client: SandboxClient, service: RestService
) -> None:
    """A session that ended in the middle of a call is news for the next one, wherever it is made."""
    lost = {"type": "unavailable_error", "code": "sandbox_lost", "message": "lost"}
    tool = PythonTool(client)
    service.fail_with = lost
    await called(tool, "1")
    service.fail_with = None
    again = PythonTool.from_state(tool.state(), client)
    assert text_of(await called(again, "2")).startswith("A new session was opened, since the one")


def test_a_state_that_is_not_ours_is_refused(client: SandboxClient) -> None:
    """With what was found in its place."""
    with pytest.raises(ValueError, match="not a state of this version: 7"):
        PythonTool.from_state({"version": 7}, client)


async def test_without_a_client_the_environment_says_where_the_service_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """SANDBOX_URL and SANDBOX_API_KEY, as for the client itself."""
    monkeypatch.setenv("SANDBOX_URL", "http://127.0.0.1:9")
    async with PythonTool() as tool:
        with pytest.raises(ServiceUnreachable, match=r"127\.0\.0\.1:9"):
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
        ({}, "'code' is missing or not a string"),
        ({"code": None}, "'code' is missing or not a string"),
        ({"": "print("}, "unknown argument ''"),
        ("print(1)", "not valid JSON"),
        ('{"code": "x', "not valid JSON"),
        ("", "not valid JSON"),
        ('"print(1)"', "not a JSON object"),
        ("{}", "'code' is missing or not a string"),
        ('{"code": 1}', "'code' is missing or not a string"),
        ('{"code": "1", "language": "python"}', "unknown argument 'language'"),
    ],
)
def test_malformed_arguments_say_what_was_wrong(arguments: Any, wrong: str) -> None:
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
