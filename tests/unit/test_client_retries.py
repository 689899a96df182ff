"""Calls that are tried again: which, how often, how long, and under which key."""

from collections.abc import Awaitable, Callable

import httpx
import pytest

from sandbox_service.client import (
    NO_RETRIES,
    ApiError,
    IdempotencyKeyReused,
    NotFound,
    RateLimited,
    Retries,
    SandboxClient,
    ServiceUnreachable,
    Unavailable,
)
from sandbox_service.client.errors import ProtocolError
from tests.support.fakes import SteppedClock
from tests.support.rest_faults import (
    Answer,
    FailsFirst,
    Faulty,
    IgnoresKeys,
    KeepsKeys,
    LosesFirstAnswers,
    answers,
    client_options,
    is_not_there,
)

Call = Callable[[SandboxClient], Awaitable[object]]


def client_over(
    transport: httpx.AsyncBaseTransport, retries: Retries | None = None
) -> tuple[SandboxClient, SteppedClock]:
    clock = SteppedClock()
    return SandboxClient(**client_options(transport), retries=retries, clock=clock), clock


@pytest.mark.parametrize(
    "fault",
    [
        is_not_there,
        answers(503),
        answers(503, "shutting_down", retry_after="1"),
        answers(502, ""),
        answers(504, ""),
        answers(429, "rate_limited", retry_after="2"),
    ],
    ids=["not there", "503", "503 with Retry-After", "502 of a proxy", "504 of a proxy", "429"],
)
async def test_what_may_pass_is_tried_again(fault: Answer) -> None:
    """Two failures, then the answer, whatever is called."""
    for call in (open_one, list_sessions, put_file):
        transport = FailsFirst(service_with_session(), fault)
        client, clock = client_over(transport)
        await call(client)
        assert len(transport.sent) == 3
        assert clock.elapsed_s > 0


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (answers(500, "internal_error"), ApiError),
        (answers(429, "session_limit"), RateLimited),
        (answers(503, "sandbox_lost"), Unavailable),
        (answers(503, "runtime_unavailable"), Unavailable),
        (answers(400, "invalid_request"), ApiError),
        (answers(507, "workspace_full"), ApiError),
    ],
    ids=["500", "429 that does not pass", "lost", "no such runtime", "400", "507"],
)
async def test_what_will_not_pass_is_told_at_once(fault: Answer, error: type[ApiError]) -> None:
    """One request, no waiting."""
    transport = FailsFirst(KeepsKeys(), fault)
    client, clock = client_over(transport)
    with pytest.raises(error):
        await client.new_session()
    assert (len(transport.sent), clock.elapsed_s) == (1, 0)


async def test_a_call_is_tried_a_bounded_number_of_times() -> None:
    """The last failure is what the caller gets."""
    transport = FailsFirst(KeepsKeys(), answers(503), times=99)
    client, _ = client_over(transport, Retries(attempts=3))
    with pytest.raises(Unavailable):
        await client.new_session()
    assert len(transport.sent) == 3


async def test_no_call_is_tried_again_after_its_deadline() -> None:
    """A wait that would end later is not begun."""
    transport = FailsFirst(KeepsKeys(), answers(429, "session_limit", retry_after="10"), times=99)
    client, clock = client_over(transport, Retries(attempts=99, deadline_s=25))
    with pytest.raises(RateLimited) as refused:
        await client.new_session()
    assert refused.value.retry_after_s == 10
    assert len(transport.sent) == 3
    assert 20 < clock.elapsed_s <= 25


async def test_without_retries_the_first_failure_is_told() -> None:
    """For callers with retries of their own."""
    transport = FailsFirst(KeepsKeys(), is_not_there)
    client, clock = client_over(transport, NO_RETRIES)
    with pytest.raises(ServiceUnreachable):
        await client.new_session()
    assert (len(transport.sent), clock.elapsed_s) == (1, 0)


async def test_waits_grow_and_differ() -> None:
    """Doubled each time up to the longest, and never the same for two clients."""
    waits = []
    for _ in range(2):
        transport = FailsFirst(KeepsKeys(), is_not_there, times=6)
        client, clock = client_over(transport, Retries(attempts=7, longest_wait_s=2))
        await client.new_session()
        waits.append(clock.elapsed_s)
    longest = 0.25 + 0.5 + 1 + 2 + 2 + 2
    assert all(longest / 2 <= wait <= longest for wait in waits)
    assert waits[0] != waits[1]


async def test_a_key_is_the_same_on_each_attempt_and_new_for_each_call() -> None:
    """What the service tells attempts from calls by."""
    transport = FailsFirst(KeepsKeys(), answers(503))
    client, _ = client_over(transport)
    await client.new_session()
    await client.new_session()
    first, *_, last = keys = [request.headers["idempotency-key"] for request in transport.sent]
    assert keys == [first, first, first, last]
    assert first != last
    assert len(first) >= 20


@pytest.mark.parametrize("call_name", ["new_session", "execute", "stream", "run"])
async def test_the_caller_can_give_the_key(call_name: str) -> None:
    """On everything that makes or runs something."""
    transport = Faulty(service := service_with_session())
    client, _ = client_over(transport)
    await CALLS_WITH_KEY[call_name](client)
    assert transport.sent[-1].headers["idempotency-key"] == "mine"
    assert service.keys == ["mine"]


async def test_an_answer_that_was_lost_is_given_again() -> None:
    """The session was opened before the connection broke: there is one, and it is this one."""
    transport = LosesFirstAnswers(service := KeepsKeys(), times=2)
    client, _ = client_over(transport)
    session = await client.new_session()
    assert list(service.sessions) == [session.id]


async def test_code_whose_answer_was_lost_runs_once() -> None:
    """The same execution is found again by its key."""
    transport = LosesFirstAnswers(service := service_with_session())
    client, _ = client_over(transport)
    result = await client.session("sess_1").execute("n = globals().get('n', 0) + 1\nn")
    assert result.text == "1\n"
    assert len(service.sessions["sess_1"].executions) == 1


async def test_a_service_that_ignores_keys_still_works() -> None:
    """An older one: it may do things twice, but each call has an answer."""
    transport = LosesFirstAnswers(IgnoresKeys())
    client, _ = client_over(transport)
    async with client.open_session() as session:
        assert (await session.execute("40 + 2")).text == "42\n"


async def test_the_same_key_with_another_body_is_an_error_of_its_own() -> None:
    """Nothing was run the second time."""
    client, _ = client_over(Faulty(service := service_with_session()))
    session = client.session("sess_1")
    await session.execute("1", idempotency_key="k")
    with pytest.raises(IdempotencyKeyReused) as reused:
        await session.execute("2", idempotency_key="k")
    assert (reused.value.status, reused.value.code) == (409, "idempotency_key_reused")
    assert len(service.sessions["sess_1"].executions) == 1


@pytest.mark.parametrize("fault", [answers(502, ""), answers(503)])
@pytest.mark.parametrize("call_name", ["interrupt", "restart"])
async def test_a_post_without_a_key_is_sent_once(fault: Answer, call_name: str) -> None:
    """A second interrupt could hit other code."""
    transport = FailsFirst(service_with_session(), fault)
    client, _ = client_over(transport)
    with pytest.raises(ApiError):
        await getattr(client.session("sess_1"), call_name)()
    assert len(transport.sent) == 1


async def test_a_post_without_a_key_that_was_never_sent_is_sent_again() -> None:
    """Nobody listened: nothing can have been done."""
    transport = FailsFirst(service_with_session(), is_not_there)
    client, _ = client_over(transport)
    await client.session("sess_1").interrupt()
    assert len(transport.sent) == 3


async def test_deleting_what_the_lost_attempt_deleted_is_no_error() -> None:
    """But deleting what was never there is."""
    service = service_with_session()
    service.sessions["sess_1"].files["a.txt"] = b"x"
    client, _ = client_over(LosesFirstAnswers(service))
    await client.session("sess_1").delete("a.txt")
    with pytest.raises(NotFound):
        await client.session("sess_1").delete("a.txt")


async def test_a_call_that_cannot_be_sent_at_all_is_not_tried_again() -> None:
    """An address that is none."""
    clock = SteppedClock()
    client = SandboxClient("service.test", "key", clock=clock)
    with pytest.raises(ProtocolError, match="protocol"):
        await client.sessions()
    assert clock.elapsed_s == 0


async def test_readiness_is_asked_once() -> None:
    """Whoever probes has a loop of their own."""
    transport = FailsFirst(KeepsKeys(), is_not_there)
    client, _ = client_over(transport)
    with pytest.raises(ServiceUnreachable):
        await client.is_ready()
    assert len(transport.sent) == 1


def service_with_session() -> KeepsKeys:
    """A service in which sess_1 is open."""
    service = KeepsKeys()
    service._open({})
    return service


async def open_one(client: SandboxClient) -> None:
    await client.new_session()


async def list_sessions(client: SandboxClient) -> None:
    await client.sessions()


async def put_file(client: SandboxClient) -> None:
    await client.session("sess_1").upload(b"x", "a.txt")


async def stream_with_key(client: SandboxClient) -> None:
    session = client.session("sess_1")
    _ = [event async for event in session.stream("1", idempotency_key="mine")]


CALLS_WITH_KEY: dict[str, Call] = {
    "new_session": lambda client: client.new_session(idempotency_key="mine"),
    "execute": lambda client: client.session("sess_1").execute("1", idempotency_key="mine"),
    "stream": stream_with_key,
    "run": lambda client: client.run("1", idempotency_key="mine"),
}
