"""Streams that break, and are taken up again: each event once, in order, to the end."""

import json
from collections.abc import Callable, Iterable
from typing import Any

import httpx
import pytest

from sandbox_service.client import (
    Event,
    EventsSkipped,
    ExecutionCompleted,
    NotFound,
    OutputChanged,
    ProtocolError,
    Retries,
    SandboxClient,
    ServiceUnreachable,
    Session,
    SessionGone,
    StreamBroken,
)
from tests.support.fakes import SteppedClock
from tests.support.rest_faults import (
    Answer,
    BreaksStreams,
    FailsFirst,
    KeepsKeys,
    answers,
    clean_end,
    client_options,
    is_not_there,
    reset,
)
from tests.unit.fakes.rest_service import NOW

EVENTS_PATH = "/v1/sessions/sess_1/executions/exec_1/events"
FOUR_LINES = "for i in range(4):\n    display(i)"


def four_nodes(code: str) -> list[dict[str, Any]]:
    """A kernel that shows four values, whatever it is given: six events with start and end."""
    return [node(str(number)) for number in range(4)]


def node(text: str) -> dict[str, Any]:
    return {"output_type": "display_data", "data": {"text/plain": text}, "metadata": {}}


def service_with_session() -> KeepsKeys:
    service = KeepsKeys(new_kernel=lambda: four_nodes)
    service._open({})
    return service


def session_over(
    transport: httpx.AsyncBaseTransport, retries: Retries | None = None
) -> tuple[Session, SteppedClock]:
    clock = SteppedClock()
    client = SandboxClient(**client_options(transport), retries=retries, clock=clock)
    return client.session("sess_1"), clock


async def events_of(session: Session) -> list[Event]:
    return [event async for event in session.stream(FOUR_LINES)]


@pytest.mark.parametrize("ending", [reset, clean_end])
@pytest.mark.parametrize("events", range(7))
async def test_a_stream_that_breaks_is_taken_up_again(
    events: int, ending: Callable[[], None]
) -> None:
    """After any number of events, by an error or by an end; nothing runs twice."""
    service = service_with_session()
    session, _ = session_over(BreaksStreams(service, events, ending=ending))
    assert [event.id for event in await events_of(session)] == [1, 2, 3, 4, 5, 6]
    assert len(service.sessions["sess_1"].executions) == 1


async def test_a_stream_that_breaks_after_each_event_is_followed_to_its_end() -> None:
    """Progress renews the patience, and each connection asks for what comes after the last."""
    transport = BreaksStreams(service_with_session(), events=1, times=99)
    session, _ = session_over(transport, Retries(resume_s=1))
    assert [event.id for event in await events_of(session)] == [1, 2, 3, 4, 5, 6]
    first, *rest = transport.sent
    assert (first.method, first.url.path) == ("POST", "/v1/sessions/sess_1/executions")
    assert {(request.method, request.url.path) for request in rest} == {("GET", EVENTS_PATH)}
    assert [request.headers["last-event-id"] for request in rest] == ["1", "2", "3", "4", "5"]


async def test_a_stream_that_broke_before_its_first_event_is_posted_again_under_its_key() -> None:
    """No id is known yet: the key finds the execution."""
    transport = BreaksStreams(service := service_with_session(), events=0, times=2)
    session, _ = session_over(transport)
    await events_of(session)
    assert transport.calls == ["POST /v1/sessions/sess_1/executions"] * 3
    assert len(set(service.keys)) == 1
    assert len(service.sessions["sess_1"].executions) == 1


async def test_a_finished_result_survives_a_broken_stream() -> None:
    """`execute` follows the stream too."""
    session, _ = session_over(BreaksStreams(service_with_session()))
    assert (await session.execute(FOUR_LINES)).text == "0\n1\n2\n3\n"


async def test_a_single_call_survives_a_broken_stream() -> None:
    """One call, one session, one execution."""
    transport = BreaksStreams(service := KeepsKeys(), times=2)
    client = SandboxClient(**client_options(transport), clock=SteppedClock())
    assert (await client.run("print('x')")).text == "x\n"
    assert len(service.sessions) == 1


class Breaks(BreaksStreams):
    """Breaks the first stream, then meets `times` requests with `fault`."""

    def __init__(self, service: KeepsKeys, fault: Answer, times: int) -> None:
        super().__init__(service)
        self._faulty = FailsFirst(service, fault, times)

    async def _answer(self, request: httpx.Request) -> httpx.Response:
        if request.method == "POST":
            return await super()._answer(request)
        return await self._faulty.handle_async_request(request)


@pytest.mark.parametrize("fault", [is_not_there, answers(503), answers(502, ""), answers(504, "")])
async def test_a_service_that_restarts_is_waited_for(fault: Answer) -> None:
    """Ten refusals in between, which is more than a call is tried."""
    session, clock = session_over(Breaks(service_with_session(), fault, times=10))
    assert [event.id for event in await events_of(session)] == [1, 2, 3, 4, 5, 6]
    assert 5 < clock.elapsed_s < 60


@pytest.mark.parametrize("fault", [is_not_there, answers(503)])
async def test_a_service_that_stays_away_is_given_up(fault: Answer) -> None:
    """After a minute, with the place where it broke and the last failure."""
    session, clock = session_over(Breaks(service_with_session(), fault, times=9999))
    with pytest.raises(StreamBroken) as broken:
        await events_of(session)
    assert (broken.value.execution_id, broken.value.last_event_id) == ("exec_1", 3)
    assert broken.value.__cause__ is not None
    assert 45 < clock.elapsed_s <= 60


async def test_a_stream_that_never_says_more_is_given_up() -> None:
    """It opens each time, and ends each time."""
    session, clock = session_over(BreaksStreams(service_with_session(), events=0, times=9999))
    with pytest.raises(StreamBroken) as broken:
        await events_of(session)
    assert (broken.value.execution_id, broken.value.last_event_id) == (None, 0)
    assert 45 < clock.elapsed_s <= 60


async def test_a_service_that_was_never_there_is_told_as_for_any_call() -> None:
    """The long patience is for what had begun."""
    transport = FailsFirst(service_with_session(), is_not_there, times=9999)
    session, clock = session_over(transport)
    with pytest.raises(ServiceUnreachable):
        await events_of(session)
    assert len(transport.sent) == Retries().attempts
    assert clock.elapsed_s < 5


async def test_what_is_gone_is_not_waited_for() -> None:
    """A service that came back without its sessions says so."""
    session, clock = session_over(Breaks(service_with_session(), answers(404, "gone"), times=9))
    with pytest.raises(Exception) as error:  # noqa: PT011 - its type is the next line's
        await events_of(session)
    assert type(error.value).__name__ == "ApiError"
    assert clock.elapsed_s < 1


async def test_events_of_an_execution_are_followed_over_breaks_too() -> None:
    """Whoever comes back later has the same patience."""
    service = service_with_session()
    service._execute(service.sessions["sess_1"], {"code": ""})
    transport = BreaksStreams(service, events=2, times=2)
    session, _ = session_over(transport)
    assert [event.id async for event in session.events("exec_1", after=1)] == [2, 3, 4, 5, 6]
    assert [request.headers["last-event-id"] for request in transport.sent] == ["1", "3", "5"]


def frame(name: str, data: dict[str, Any], number: int | None = None) -> bytes:
    head = "" if number is None else f"id: {number}\n"
    return f"{head}event: {name}\ndata: {json.dumps(data)}\n\n".encode()


def started(number: int = 1) -> bytes:
    ids = {"id": "exec_1", "session_id": "sess_1"}
    return frame("execution.started", {"execution": ids}, number)


def shown(number: int) -> bytes:
    output = node(str(number))
    return frame("output", {"action": "append", "index": number - 2, "output": output}, number)


def completed(number: int) -> bytes:
    execution = {
        "id": "exec_1",
        "session_id": "sess_1",
        "status": "ok",
        "outputs": [node("all")],
        "artifacts": [],
        "kernel": {"epoch": 1, "state": "kept"},
        "session_expires_at": NOW,
    }
    return frame("execution.completed", {"execution": execution}, number)


def interrupted(reason: str, last_event_id: int, url: str = EVENTS_PATH) -> bytes:
    data = {"reason": reason, "last_event_id": last_event_id, "events_url": url}
    return frame("stream.interrupted", data)


class Scripted(httpx.AsyncBaseTransport):
    """Answers each request with the next of the streams that it was given."""

    def __init__(self, *streams: Iterable[bytes]) -> None:
        self._streams = [b"".join(stream) for stream in streams]
        self.sent: list[httpx.Request] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.sent.append(request)
        headers = {"content-type": "text/event-stream"}
        return httpx.Response(200, headers=headers, content=self._streams[len(self.sent) - 1])

    @property
    def calls(self) -> list[str]:
        return [f"{request.method} {request.url.path}" for request in self.sent]


@pytest.mark.parametrize("reason", ["shutting_down", "slow_reader"])
async def test_an_interrupted_stream_is_taken_up_again(reason: str) -> None:
    """The service says that it ends here; the caller sees nothing of it."""
    transport = Scripted([started(), shown(2), interrupted(reason, 2)], [shown(3), completed(4)])
    session, _ = session_over(transport)
    assert [event.id for event in await events_of(session)] == [1, 2, 3, 4]
    assert transport.calls[1] == f"GET {EVENTS_PATH}"
    assert transport.sent[1].headers["last-event-id"] == "2"


@pytest.mark.parametrize(
    "url", [EVENTS_PATH, f"https://elsewhere.test{EVENTS_PATH}", f"{EVENTS_PATH}?after=0"]
)
async def test_an_interruption_before_the_start_says_what_to_ask_for(url: str) -> None:
    """A queued execution. Only the ids are taken: the key never goes to another host."""
    transport = Scripted([interrupted("shutting_down", 0, url)], [started(), completed(2)])
    session, _ = session_over(transport)
    assert [event.id for event in await events_of(session)] == [1, 2]
    assert transport.calls[1] == f"GET {EVENTS_PATH}"
    assert transport.sent[1].url.host == "service.test"


async def test_an_interruption_that_says_no_place_is_posted_again() -> None:
    """Under the same key."""
    transport = Scripted([interrupted("shutting_down", 0, "")], [started(), completed(2)])
    session, _ = session_over(transport)
    await events_of(session)
    keys = [request.headers["idempotency-key"] for request in transport.sent]
    assert keys == [keys[0]] * 2


async def test_a_single_call_is_resumed_in_the_session_that_was_opened() -> None:
    """The first event says which."""
    transport = Scripted([started()], [completed(2)])
    client = SandboxClient(**client_options(transport), clock=SteppedClock())
    assert (await client.run("1")).text == "all\n"
    assert transport.calls == ["POST /v1/executions", f"GET {EVENTS_PATH}"]


async def test_a_gap_is_an_event_of_its_own() -> None:
    """The caller is told what is missing, and goes on after it."""
    gap = frame("gap", {"from_id": 3, "to_id": 90, "reason": "overflow"}, 90)
    transport = Scripted([started(), shown(2)], [gap, shown(91)], [completed(92)])
    session, _ = session_over(transport)
    events = await events_of(session)
    assert [event.id for event in events] == [1, 2, 90, 91, 92]
    assert events[2] == EventsSkipped(90, 3, 90, "overflow")
    assert transport.sent[2].headers["last-event-id"] == "91"


async def test_events_that_were_seen_are_not_seen_again() -> None:
    """A service that answers with all of them."""
    transport = Scripted([started(), shown(2)], [started(), shown(2), shown(3), completed(4)])
    session, _ = session_over(transport)
    events = await events_of(session)
    assert [event.id for event in events] == [1, 2, 3, 4]
    assert sum(isinstance(event, OutputChanged) for event in events) == 2
    assert isinstance(events[-1], ExecutionCompleted)


async def test_events_of_kinds_not_known_here_are_passed_over() -> None:
    """A newer service."""
    news = frame("news", {"x": 1}) + frame("more.news", {"x": 1}, 2)
    session, _ = session_over(Scripted([started(), news, completed(3)]))
    assert [event.id for event in await events_of(session)] == [1, 3]


def failure(kind: str, code: str) -> bytes:
    return frame("error", {"error": {"type": kind, "code": code, "message": "m"}})


@pytest.mark.parametrize(
    ("sent", "error"),
    [
        (failure("gone_error", "session_lost"), SessionGone),
        (failure("not_found_error", "not_found"), NotFound),
        (frame("output", {"action": "append"}, 2), ProtocolError),
        (b"id: x\nevent: execution.started\ndata: {}\n\n", ProtocolError),
        (b"event: output\nid: 2\ndata: {broken\n\n", ProtocolError),
    ],
)
async def test_a_failure_said_in_the_stream_ends_it(sent: bytes, error: type[Exception]) -> None:
    """No second connection for what will not change."""
    transport = Scripted([started(), sent])
    session, _ = session_over(transport)
    with pytest.raises(error):
        await events_of(session)
    assert len(transport.sent) == 1


@pytest.mark.parametrize("code", ["shutting_down", "store_unavailable"])
async def test_a_stream_that_failed_without_its_execution_is_taken_up_again(code: str) -> None:
    """The service lost its way to the events; the execution goes on."""
    transport = Scripted([started(), failure("unavailable_error", code)], [completed(2)])
    session, _ = session_over(transport)
    assert [event.id for event in await events_of(session)] == [1, 2]


async def test_an_answer_that_is_no_stream_is_a_protocol_error() -> None:
    """Some login page with status 200."""
    transport = httpx.MockTransport(lambda request: httpx.Response(200, html="<html>"))
    session, clock = session_over(transport)
    with pytest.raises(ProtocolError):
        await events_of(session)
    assert clock.elapsed_s == 0


class SpeaksEveryMinute(Scripted):
    """Each connection lasts a minute without an event, as one through an impatient proxy."""

    def __init__(self, clock: SteppedClock, connections: int) -> None:
        super().__init__([started()], *([[]] * connections), [completed(2)])
        self._clock = clock

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        said = (await super().handle_async_request(request)).content
        headers = {"content-type": "text/event-stream"}
        return httpx.Response(200, headers=headers, stream=Slow(said, self._clock))


class Slow(httpx.AsyncByteStream):
    def __init__(self, content: bytes, clock: SteppedClock) -> None:
        self._content = content
        self._clock = clock

    async def __aiter__(self) -> Any:
        self._clock.advance(60)
        yield b": keep-alive\n\n" + self._content


async def test_silent_code_is_followed_over_connections_that_last() -> None:
    """Twenty minutes of a proxy that ends every connection after one."""
    clock = SteppedClock()
    transport = SpeaksEveryMinute(clock, connections=20)
    client = SandboxClient(**client_options(transport), clock=clock)
    events = [event.id async for event in client.session("sess_1").stream("1")]
    assert events == [1, 2]
    assert len(transport.sent) == 22


async def test_leaving_a_stream_closes_its_connection() -> None:
    """Nothing is asked for any more."""
    transport = BreaksStreams(service_with_session(), events=2)
    session, _ = session_over(transport)
    events = session.stream(FOUR_LINES)
    async for _event in events:
        break
    await events.aclose()
    assert len(transport.sent) == 1


@pytest.mark.parametrize(
    ("status", "asked", "is_interrupted"),
    [("running", True, True), ("ok", True, False), ("running", False, False)],
)
async def test_leaving_a_stream_interrupts_the_code_if_that_was_asked_for(
    status: str, asked: bool, is_interrupted: bool
) -> None:
    """And if it still runs: what comes after it is not meant."""
    service = service_with_session()
    service.patch = lambda execution: execution.update(status=status)
    transport = BreaksStreams(service, times=0)
    session, _ = session_over(transport)
    events = session.stream(FOUR_LINES, interrupt_on_leave=asked)
    await anext(events)
    await events.aclose()
    assert ("POST /v1/sessions/sess_1/interrupt" in transport.calls) is is_interrupted
