"""The client without an event loop: the same behaviour, signatures made from the asynchronous one."""

import asyncio
import gc
import inspect
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from sandbox_service.client import (
    ArtifactMade,
    ExecutionCompleted,
    ExecutionResult,
    NotFound,
    OutputChanged,
    SandboxClient,
    Session,
    SyncSandboxClient,
)
from sandbox_service.client.bridge import Bridge
from sandbox_service.client.sync import SyncArtifact, SyncExecutionResult, SyncSession
from tests.support.make_sync import TARGET, source_of_sync
from tests.support.rest_faults import BreaksStreams, KeepsKeys, client_options


@pytest.fixture
def service() -> KeepsKeys:
    return KeepsKeys()


@pytest.fixture
def client(service: KeepsKeys) -> Iterator[SyncSandboxClient]:
    with SyncSandboxClient(**client_options(httpx.ASGITransport(app=service))) as client:
        yield client
    assert client_threads() == []


def client_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if "sandbox-client" in thread.name]


def test_the_synchronous_client_is_what_the_asynchronous_one_makes_of_it() -> None:
    """After a change: `python -m tests.support.make_sync`."""
    assert TARGET.read_text() == source_of_sync()


@pytest.mark.parametrize(
    ("face", "original"), [(SyncSandboxClient, SandboxClient), (SyncSession, Session)]
)
def test_every_public_method_is_there_with_its_parameters(face: type, original: type) -> None:
    """Names, kinds and defaults are the same."""
    for name, member in vars(original).items():
        if name.startswith("_") or isinstance(member, property):
            continue
        parameters = inspect.signature(member).parameters
        assert inspect.signature(getattr(face, name)).parameters == parameters, name


def test_state_is_kept_between_executions(client: SyncSandboxClient, service: KeepsKeys) -> None:
    """Context managers open and close."""
    with client.open_session() as session:
        session.execute("x = 41")
        assert session.execute("x + 1").text == "42\n"
    assert [session.gone for session in service.sessions.values()] == ["session_closed"]


def test_a_session_is_closed_when_its_block_fails(
    client: SyncSandboxClient, service: KeepsKeys
) -> None:
    """With the caller's own exception."""
    with pytest.raises(ZeroDivisionError), client.open_session():
        _ = 1 / 0
    with client.session(client.new_session().id) as session:
        assert session.info().status == "ready"
    assert [s.gone for s in service.sessions.values()] == ["session_closed"] * 2


def test_events_come_one_by_one(client: SyncSandboxClient) -> None:
    """The last one is whole, and of the class that the asynchronous client yields."""
    session = client.new_session()
    events = list(session.stream("print('a')\n1"))
    assert [event.id for event in events] == [1, 2, 3, 4]
    assert isinstance(events[1], OutputChanged)
    assert isinstance(events[-1], ExecutionCompleted)
    assert isinstance(events[-1].result, SyncExecutionResult)
    assert [event.id for event in session.events("exec_1", after=2)] == [3, 4]


def test_a_broken_stream_is_taken_up_again(service: KeepsKeys) -> None:
    """As over an event loop."""
    with SyncSandboxClient(**client_options(BreaksStreams(service, events=2))) as client:
        events = list(client.new_session().stream("print('a')\n1"))
    assert [event.id for event in events] == [1, 2, 3, 4]


def test_leaving_a_stream_early_closes_it(client: SyncSandboxClient) -> None:
    """By break, by an exception, and unread."""
    session = client.new_session()
    for _event in session.stream("1"):
        break
    with pytest.raises(ZeroDivisionError):
        for _event in session.stream("1"):
            _ = 1 / 0
    session.stream("never begun")
    gc.collect()
    assert session.execute("2").text == "2\n"


def test_what_calls_return_can_be_used_without_an_event_loop(
    client: SyncSandboxClient, service: KeepsKeys, tmp_path: Path
) -> None:
    """Artifacts of results, of events and by id; a result is still an ExecutionResult."""
    made = service.add_artifact("a.txt", b"x")
    service.patch = lambda execution: execution["artifacts"].append(made)
    session = client.new_session()
    result = session.execute("1")
    assert isinstance(result, ExecutionResult)
    assert result.artifacts[0].read() == b"x"
    assert result.save(tmp_path)[0].read_bytes() == b"x"
    seen = [event.artifact for event in session.stream("1") if isinstance(event, ArtifactMade)]
    assert isinstance(seen[0], SyncArtifact)
    assert seen[0].save(tmp_path / "again").read_bytes() == b"x"
    assert [type(item) for item in session.executions()] == [SyncExecutionResult] * 2


def test_files_go_up_and_down(client: SyncSandboxClient, tmp_path: Path) -> None:
    """From bytes, a file that is open, and a generator."""
    session = client.new_session()
    (tmp_path / "b.txt").write_bytes(b"b")
    session.upload(b"a", "a.txt")
    with (tmp_path / "b.txt").open("rb") as file:
        session.upload(file)
    session.upload((part for part in [b"c", b"d"]), "c.txt")
    assert [entry.path for entry in session.files()] == ["a.txt", "b.txt", "c.txt"]
    assert session.download("c.txt") == b"cd"
    assert session.download_to("b.txt", tmp_path / "copy").read_bytes() == b"b"


def test_errors_are_the_same(client: SyncSandboxClient) -> None:
    """Raised where the call was made."""
    with pytest.raises(NotFound) as error:
        client.session("sess_none").info()
    assert error.value.code == "session_not_found"


def test_a_single_call(client: SyncSandboxClient) -> None:
    """Opened, run, closed."""
    assert client.run("print(6 * 7)").text == "42\n"


def test_a_closed_client_says_so_and_can_be_closed_again(service: KeepsKeys) -> None:
    """No coroutine is left unawaited, no thread is left."""
    client = SyncSandboxClient(**client_options(httpx.ASGITransport(app=service)))
    session = client.new_session()
    events = session.stream("1")
    next(events)
    client.close()
    client.close()
    events.close()
    with pytest.raises(RuntimeError, match="closed"):
        session.info()
    assert client_threads() == []


def test_a_client_that_was_never_used_has_no_thread() -> None:
    """It begins with the first call."""
    client = SyncSandboxClient("http://service.test")
    assert client_threads() == []
    client.close()
    assert client_threads() == []


def test_many_threads_can_share_a_client(client: SyncSandboxClient) -> None:
    """Each has its own session; the loop is one."""
    answers: list[str] = []

    def work(number: int) -> None:
        with client.open_session() as session:
            answers.append(session.execute(f"{number}").text)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == [f"{number}\n" for number in range(8)]
    assert client_threads() == ["sandbox-client"]


def test_closing_ends_calls_of_other_threads() -> None:
    """They are told, and do not wait for ever."""
    bridge, begun, told = Bridge(), threading.Event(), []

    async def waits_for_ever() -> None:
        begun.set()
        await _never()

    def work() -> None:
        with pytest.raises(RuntimeError, match="closed"):
            bridge.call(waits_for_ever())
        told.append(True)

    thread = threading.Thread(target=work)
    thread.start()
    begun.wait()
    bridge.close(_nothing())
    thread.join(10)
    assert told == [True]


def test_a_call_from_the_clients_own_thread_is_refused() -> None:
    """It would wait for itself."""
    bridge = Bridge()

    async def calls_back() -> None:
        bridge.call(_nothing())

    with pytest.raises(RuntimeError, match="own thread"):
        bridge.call(calls_back())
    bridge.close(_nothing())


async def _nothing() -> None:
    pass


async def _never() -> None:
    await asyncio.Event().wait()
