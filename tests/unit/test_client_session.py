"""The client against the REST contract."""

import json
import os
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from sandbox_service.client import (
    NO_RETRIES,
    ApiError,
    ArtifactMade,
    ExecutionCompleted,
    ExecutionStarted,
    NotFound,
    OutputChanged,
    ProtocolError,
    Retries,
    SandboxClient,
    ServiceUnreachable,
    SessionGone,
    StreamBroken,
    Unauthenticated,
)
from sandbox_service.client.transport import is_loopback
from tests.support.fakes import SteppedClock
from tests.support.rest_faults import KeepsKeys
from tests.unit.fakes.rest_service import KEY


def client_of(service: KeepsKeys, key: str = KEY, retries: Retries | None = None) -> SandboxClient:
    transport = httpx.ASGITransport(app=service)
    return SandboxClient("http://service.test", key, transport=transport, retries=retries)


@pytest.fixture
def service() -> KeepsKeys:
    return KeepsKeys()


@pytest_asyncio.fixture
async def client(service: KeepsKeys) -> AsyncIterator[SandboxClient]:
    async with client_of(service) as client:
        yield client


async def test_state_is_kept_between_executions(client: SandboxClient) -> None:
    """The second cell sees the variable of the first."""
    async with client.open_session() as session:
        await session.execute("x = 41")
        result = await session.execute("x + 1")
    assert result.is_ok
    assert result.text == "42\n"
    assert (result.epoch, result.state) == (1, "kept")


async def test_an_open_session_is_closed_at_the_end(
    client: SandboxClient, service: KeepsKeys
) -> None:
    """Leaving the block closes the session; keep leaves it."""
    async with client.open_session():
        pass
    async with client.open_session(keep=True):
        pass
    first, second = service.sessions.values()
    assert first.gone == "session_closed"
    assert second.gone is None


async def test_options_of_a_session_are_sent_as_given(
    client: SandboxClient, service: KeepsKeys
) -> None:
    """Only what the caller named is in the body."""
    await client.new_session(idle_ttl_s=90, metadata={"user": "7"})
    assert service.bodies == [{"idle_ttl_s": 90, "metadata": {"user": "7"}}]


async def test_a_session_is_a_context_manager_and_found_again_by_its_id(
    client: SandboxClient, service: KeepsKeys
) -> None:
    """State is where it was; leaving the block closes it."""
    first = await client.new_session()
    await first.execute("x = 41")
    async with client.session(first.id) as again:
        assert (await again.execute("x + 1")).text == "42\n"
        assert service.sessions[first.id].gone is None
    assert service.sessions[first.id].gone == "session_closed"


async def test_a_single_call_can_bring_files(client: SandboxClient, service: KeepsKeys) -> None:
    """They are in the workspace before the code runs, and the session is closed."""
    result = await client.run("print('ok')", files={"a.csv": b"1", "b.csv": b"2"}, idle_ttl_s=60)
    assert result.text == "ok\n"
    (session,) = service.sessions.values()
    assert (session.files, session.gone) == ({"a.csv": b"1", "b.csv": b"2"}, "session_closed")
    with pytest.raises(ValueError, match="key"):
        await client.run("1", files={"a": b""}, idempotency_key="k")


async def test_the_kernel_is_steered(client: SandboxClient, service: KeepsKeys) -> None:
    """Interrupt, restart and extend answer with the session; what is not said is not sent."""
    session = await client.new_session()
    answers = [await session.interrupt(), await session.restart(), await session.extend(90)]
    assert [answer.id for answer in answers] == [session.id] * 3


async def test_a_notebook_is_read_or_saved(client: SandboxClient, tmp_path: Path) -> None:
    """The same document both times."""
    async with client.open_session() as session:
        saved = await session.save_notebook(tmp_path / "a.ipynb")
        assert json.loads(saved.read_text()) == await session.notebook()
    assert os.listdir(tmp_path) == ["a.ipynb"]


async def test_an_exception_in_the_code_is_a_result(client: SandboxClient) -> None:
    """A failing cell raises nothing here: its outcome is data."""
    async with client.open_session() as session:
        result = await session.execute("1 / 0")
    assert result.status == "error"
    assert result.error is not None
    assert (result.error.name, result.error.value) == ("ZeroDivisionError", "division by zero")


async def test_a_single_call_runs_and_closes(client: SandboxClient, service: KeepsKeys) -> None:
    """`client.execute` leaves no session behind."""
    result = await client.run("print('hello')")
    assert result.text == "hello\n"
    assert [session.gone for session in service.sessions.values()] == ["session_closed"]


async def test_a_stream_ends_with_the_whole_result(client: SandboxClient) -> None:
    """Typed events in order, the last one complete."""
    async with client.open_session() as session:
        events = [event async for event in session.stream("print('a')\n1")]
    kinds = [type(event) for event in events]
    assert kinds == [ExecutionStarted, OutputChanged, OutputChanged, ExecutionCompleted]
    last = events[-1]
    assert isinstance(last, ExecutionCompleted)
    assert last.result.text == "a\n1\n"


async def test_without_retries_a_broken_stream_says_where_it_broke(service: KeepsKeys) -> None:
    """The events after the break can be got by number."""
    service.break_after = 2
    async with client_of(service, retries=NO_RETRIES) as client, client.open_session() as session:
        with pytest.raises(StreamBroken) as broken:
            _ = [event async for event in session.stream("print('a')\n1")]
        service.break_after = None
        assert broken.value.execution_id == "exec_1"
        rest = [event async for event in session.events("exec_1", broken.value.last_event_id)]
    assert [event.id for event in rest] == [3, 4]


async def test_a_failure_of_the_service_in_mid_stream_is_raised(
    client: SandboxClient, service: KeepsKeys
) -> None:
    """An error event becomes the exception of its type."""
    service.fail_with = {"type": "gone_error", "code": "session_lost", "message": "lost"}
    async with client.open_session() as session:
        with pytest.raises(SessionGone) as gone:
            _ = [event async for event in session.stream("1")]
    assert gone.value.code == "session_lost"


async def test_files_go_up_and_down(client: SandboxClient, tmp_path: Path) -> None:
    """Names with spaces, folders and Unicode survive; a path or bytes can be sent."""
    source = tmp_path / "a b.csv"
    source.write_bytes(b"1,2\n")
    async with client.open_session() as session:
        await session.upload(source)
        await session.upload(b"x", "sub folder/naïve 100%?#.txt")
        names = [entry.path for entry in await session.files()]
        assert names == ["a b.csv", "sub folder/naïve 100%?#.txt"]
        assert await session.download("a b.csv") == b"1,2\n"
        await session.delete("a b.csv")
        with pytest.raises(NotFound):
            await session.download("a b.csv")


async def test_an_artifact_is_saved_under_its_name(
    client: SandboxClient, service: KeepsKeys, tmp_path: Path
) -> None:
    """Sub-folders are made, nothing else is left beside the file."""
    made = service.add_artifact("charts/one.png", b"png")
    service.patch = lambda execution: execution["artifacts"].append(made)
    async with client.open_session() as session:
        events = [event async for event in session.stream("1")]
    artifact = next(event.artifact for event in events if isinstance(event, ArtifactMade))
    saved = await artifact.save(tmp_path)
    assert saved == tmp_path / "charts" / "one.png"
    assert [path.name for path in saved.parent.iterdir()] == ["one.png"]
    assert saved.read_bytes() == await artifact.read() == b"png"


@pytest.mark.parametrize("name", ["../up.txt", "/etc/passwd", "a/../../b", "", "nul\0"])
async def test_an_artifact_never_leaves_its_directory(
    client: SandboxClient, service: KeepsKeys, tmp_path: Path, name: str
) -> None:
    """Names come from the sandbox: one that climbs is refused."""
    made = service.add_artifact(name, b"x")
    service.patch = lambda execution: execution["artifacts"].append(made)
    result = await client.run("1")
    with pytest.raises(ProtocolError):
        await result.artifacts[0].save(tmp_path / "out")


async def test_damaged_content_is_not_saved(
    client: SandboxClient, service: KeepsKeys, tmp_path: Path
) -> None:
    """The hash is checked before the file appears."""
    made = service.add_artifact("a.txt", b"x")
    service.patch = lambda execution: execution["artifacts"].append(made)
    result = await client.run("1")
    service.artifacts[made["id"]] = b"y"
    with pytest.raises(ProtocolError, match=r"a\.txt"):
        await result.artifacts[0].save(tmp_path)
    assert os.listdir(tmp_path) == []


async def test_an_expired_session_raises_session_gone(
    client: SandboxClient, service: KeepsKeys
) -> None:
    """410 carries its code; closing what is gone is fine."""
    session = await client.new_session()
    service.end_sessions("session_expired")
    with pytest.raises(SessionGone) as gone:
        await session.execute("1")
    assert (gone.value.status, gone.value.code) == (410, "session_expired")
    await session.close()


async def test_errors_carry_what_the_service_said(client: SandboxClient) -> None:
    """Status, code and message are at hand."""
    with pytest.raises(NotFound) as error:
        await client.session("sess_none").info()
    assert isinstance(error.value, ApiError)
    assert (error.value.status, error.value.code) == (404, "session_not_found")
    assert error.value.retryable is False


async def test_a_wrong_key_raises_unauthenticated(service: KeepsKeys) -> None:
    """401 has a class of its own."""
    async with client_of(service, "wrong") as client:
        with pytest.raises(Unauthenticated):
            await client.new_session()


async def test_readiness_needs_no_key(service: KeepsKeys) -> None:
    """A probe before any key is known."""
    async with client_of(service, "wrong") as client:
        assert await client.is_ready()


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://127.0.0.1:8000", True),
        ("http://localhost", True),
        ("http://[::1]:8000", True),
        ("http://10.0.0.1", False),
        ("https://sandbox.example.com", False),
        ("not a url", False),
    ],
)
def test_no_proxy_stands_before_this_machine(url: str, expected: bool) -> None:
    """A proxy of the environment is used for other machines only."""
    assert is_loopback(url) is expected


async def test_no_service_is_one_clear_error() -> None:
    """A refused connection names the address."""
    async with SandboxClient("http://127.0.0.1:9", clock=SteppedClock()) as client:
        with pytest.raises(ServiceUnreachable, match=r"127\.0\.0\.1:9"):
            await client.new_session()


async def test_an_answer_outside_the_contract_is_a_protocol_error() -> None:
    """HTML of some proxy, a missing field: never a KeyError."""

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/restart"):
            return httpx.Response(200, text="<html>")
        return httpx.Response(200, json={"hello": 1})

    async with SandboxClient("http://x.test", transport=httpx.MockTransport(answer)) as client:
        with pytest.raises(ProtocolError):
            await client.new_session()
        with pytest.raises(ProtocolError):
            await client.session("s").restart()
        with pytest.raises(ProtocolError):
            await client.session("s").files()
        with pytest.raises(ProtocolError):
            await client.run("1")


async def test_an_error_that_is_not_json_keeps_its_status() -> None:
    """A bad gateway between us and the service."""
    transport = httpx.MockTransport(lambda request: httpx.Response(502, text="bad gateway"))
    retries = NO_RETRIES
    async with SandboxClient("http://x.test", transport=transport, retries=retries) as client:
        with pytest.raises(ApiError) as error:
            await client.new_session()
    assert error.value.status == 502
