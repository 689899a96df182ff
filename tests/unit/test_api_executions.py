"""Executions over HTTP: finished answers, and streams as they run."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from sandbox_service.api.streams import sse_frame
from sandbox_service.domain.errors import InvalidRequest, SandboxLost, Unauthenticated
from sandbox_service.domain.values import SessionStatus
from sandbox_service.tenants.keyring import Principal
from tests.support.turns import others_run
from tests.unit.fakes.api_fakes import Caller, Cell, World, small_settings


@dataclass
class Desk:
    """A world with one open session and a client at it."""

    world: World
    client: httpx.AsyncClient
    session_id: str

    @property
    def url(self) -> str:
        return f"/v1/sessions/{self.session_id}/executions"

    def caller(self, path: str, **body: object) -> Caller:
        app = self.client._transport.app  # type: ignore[attr-defined]
        return Caller(app, "POST", path, body=[json.dumps(body).encode()])


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    world = World(small_settings())
    async with world.client(world.app()) as client:
        session_id = (await client.post("/v1/sessions", json={})).json()["id"]
        yield Desk(world, client, session_id)


def events_of(text: str) -> list[dict[str, Any]]:
    """The events of a stream: id, event and data."""
    events = []
    for block in text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if line[:1] != ":")
        if fields:
            events.append({**fields, "data": json.loads(fields["data"])})
    return events


@pytest.mark.parametrize("character", ["\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c", "\x1e"])
def test_an_event_is_three_lines_for_whoever_splits_lines(character: str) -> None:
    """Python's `splitlines` knows more line breaks than the standard of event streams."""
    text = f"a{character}b"
    frame = sse_frame("output", {"text": text}, 1).decode()
    assert [line.partition(":")[0] for line in frame.splitlines()] == ["id", "event", "data", ""]
    assert json.loads(frame.splitlines()[2].removeprefix("data: ")) == {"text": text}


async def test_an_execution_is_shown_as_the_contract_says(desk: Desk) -> None:
    execution = (await desk.client.post(desk.url, json={"code": "print('hello')"})).json()
    assert list(execution) == [
        "id", "object", "session_id", "status", "execution_count", "outputs", "artifacts",
        "truncated", "notices", "created_at", "started_at", "duration_s", "kernel",
        "session_expires_at",
    ]  # fmt: skip
    assert execution["outputs"][0]["text"] == "hello\n"
    assert execution["kernel"] == {"epoch": 1, "state": "kept"}
    again = await desk.client.get(f"{desk.url}/{execution['id']}")
    assert again.json() == execution


async def test_its_artifacts_carry_a_link_that_works_without_a_key(desk: Desk) -> None:
    artifact = desk.world.artifacts.keep("alice", "a b.csv", b"x,y", "text/csv")
    desk.world.executions.cells["make"] = Cell(artifact=artifact)
    shown = (await desk.client.post(desk.url, json={"code": "make"})).json()["artifacts"][0]
    assert (shown["path"], shown["size"], shown["media_type"]) == ("a b.csv", 3, "text/csv")
    assert "tenant" not in shown
    del desk.client.headers["authorization"]
    assert (await desk.client.get(shown["url"])).content == b"x,y"


async def test_executions_are_listed_oldest_first_page_by_page(desk: Desk) -> None:
    ids = [(await desk.client.post(desk.url, json={"code": str(n)})).json()["id"] for n in range(3)]
    first = (await desk.client.get(desk.url, params={"limit": 2})).json()
    rest = (await desk.client.get(desk.url, params={"after": first["next_cursor"]})).json()
    assert [item["id"] for item in first["data"] + rest["data"]] == ids
    assert (first["has_more"], rest["has_more"]) == (True, False)
    assert (await desk.client.get(desk.url, params={"after": "no"})).status_code == 404


async def test_our_own_failure_is_an_error_and_not_a_result(desk: Desk) -> None:
    desk.world.executions.cells["1"] = Cell(failure=SandboxLost("It went away."))
    answer = await desk.client.post(desk.url, json={"code": "1"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "sandbox_lost")


@pytest.mark.parametrize(
    ("body", "headers", "is_stream"),
    [
        ({}, {}, False),
        ({"stream": True}, {}, True),
        ({}, {"Accept": "text/event-stream"}, True),
        ({"stream": False}, {"Accept": "text/event-stream"}, False),
    ],
)
async def test_the_body_or_else_the_accept_header_asks_for_a_stream(
    desk: Desk, body: dict[str, object], headers: dict[str, str], is_stream: bool
) -> None:
    answer = await desk.client.post(desk.url, json={"code": "1", **body}, headers=headers)
    assert answer.headers["content-type"].startswith("text/event-stream") == is_stream


async def test_a_stream_has_numbered_events_from_start_to_end(desk: Desk) -> None:
    desk.world.executions.cells["1"] = Cell(lines=("a\n", "b\n"))
    answer = await desk.client.post(desk.url, json={"code": "1", "stream": True})
    events = events_of(answer.text)
    assert [(event["id"], event["event"]) for event in events] == [
        ("1", "execution.started"),
        ("2", "output"),
        ("3", "output"),
        ("4", "execution.completed"),
    ]
    assert events[1]["data"]["output"]["text"] == "a\n"
    assert "tenant" not in events[-1]["data"]["execution"]
    assert answer.headers["cache-control"] == "no-cache"
    assert answer.headers["x-accel-buffering"] == "no"


@pytest.mark.parametrize(
    ("headers", "query", "ids"),
    [
        ({}, {}, ["1", "2", "3"]),
        ({}, {"after": "1"}, ["2", "3"]),
        ({"Last-Event-ID": "2"}, {"after": "1"}, ["3"]),
        ({"Last-Event-ID": "3"}, {}, []),
    ],
)
async def test_a_stream_is_taken_up_again_where_it_was_left(
    desk: Desk, headers: dict[str, str], query: dict[str, str], ids: list[str]
) -> None:
    execution = (await desk.client.post(desk.url, json={"code": "1"})).json()
    url = f"{desk.url}/{execution['id']}/events"
    answer = await desk.client.get(url, headers=headers, params=query)
    assert [event["id"] for event in events_of(answer.text)] == ids


@pytest.mark.parametrize("value", ["x", "-1", "", "9" * 30, "²"])
async def test_a_bad_last_event_id_is_refused(desk: Desk, value: str) -> None:
    execution = (await desk.client.post(desk.url, json={"code": "1"})).json()
    headers = {"Last-Event-ID": value.encode()}
    answer = await desk.client.get(f"{desk.url}/{execution['id']}/events", headers=headers)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "Last-Event-ID")


async def test_the_stream_of_an_unknown_execution_is_404_and_no_stream(desk: Desk) -> None:
    assert (await desk.client.get(f"{desk.url}/exec_x/events")).status_code == 404


async def test_a_failure_in_mid_stream_is_an_error_event_without_a_number(desk: Desk) -> None:
    desk.world.executions.cells["1"] = Cell(failure=SandboxLost("It went away."))
    answer = await desk.client.post(desk.url, json={"code": "1", "stream": True})
    last = events_of(answer.text)[-1]
    assert (last["event"], "id" in last) == ("error", False)
    assert last["data"]["error"]["code"] == "sandbox_lost"


async def test_a_bug_in_mid_stream_tells_nothing_of_the_inside(desk: Desk) -> None:
    desk.world.executions.cells["1"] = Cell(failure=RuntimeError("secret detail"))
    answer = await desk.client.post(desk.url, json={"code": "1", "stream": True})
    assert events_of(answer.text)[-1]["data"]["error"]["code"] == "internal_error"
    assert "secret" not in answer.text


async def test_a_silent_stream_sends_comments_until_something_happens(desk: Desk) -> None:
    cell = desk.world.executions.cells["1"] = Cell(is_held=True)
    async with desk.caller(desk.url, code="1", stream=True) as caller:
        assert (await caller.next())["status"] == 200
        assert (await caller.next_text()) == ": keep-alive\n\n"
        assert (await caller.next_text()) == ": keep-alive\n\n"
        cell.release.set()
        while (text := await caller.next_text()).startswith(":"):
            pass
        assert "execution.started" in text


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("asked", [True, False])
async def test_hanging_up_stops_a_cell_only_for_who_asked_for_it(
    desk: Desk, stream: bool, asked: bool
) -> None:
    cell = desk.world.executions.cells["1"] = Cell(is_held=True)
    body = {"code": "1", "stream": stream, "cancel_on_disconnect": asked}
    async with desk.caller(desk.url, **body) as caller:
        if stream:
            await caller.next()
        leaving = asyncio.create_task(caller.hang_up())
        await others_run()
        cell.release.set()
        await leaving
    assert len(desk.world.executions.cancelled) == (1 if asked else 0)


async def test_one_call_opens_a_session_and_returns_both(desk: Desk) -> None:
    body = {"code": "1", "session": {"metadata": {"a": "b"}}}
    both = (await desk.client.post("/v1/executions", json=body)).json()
    assert list(both) == ["session", "execution"]
    assert both["execution"]["session_id"] == both["session"]["id"] != desk.session_id
    assert both["session"]["metadata"] == {"a": "b"}


async def test_one_call_uses_the_named_session(desk: Desk) -> None:
    body = {"code": "1", "session_id": desk.session_id}
    both = (await desk.client.post("/v1/executions", json=body)).json()
    assert both["session"]["id"] == desk.session_id
    assert len(desk.world.sessions.records) == 1


@pytest.mark.parametrize("stream", [True, False])
async def test_one_call_closes_the_session_when_asked(desk: Desk, stream: bool) -> None:
    body = {"code": "1", "session_id": desk.session_id, "close_session": True, "stream": stream}
    answer = await desk.client.post("/v1/executions", json=body)
    last = events_of(answer.text)[-1]["data"] if stream else answer.json()
    assert last["session"]["status"] == "closed"
    assert last["execution"]["status"] == "ok"


async def test_one_calls_stream_begins_and_ends_with_the_session(desk: Desk) -> None:
    answer = await desk.client.post("/v1/executions", json={"code": "1", "stream": True})
    events = events_of(answer.text)
    assert events[0]["data"]["session"]["id"] == events[-1]["data"]["session"]["id"]
    assert "session" not in events[1]["data"]


async def test_a_session_that_a_refused_call_opened_is_closed_again(desk: Desk) -> None:
    desk.world.executions.refusal = InvalidRequest("Too long.", param="timeout_s")
    answer = await desk.client.post("/v1/executions", json={"code": "1"})
    assert answer.status_code == 400
    opened = [r for r in desk.world.sessions.records.values() if r.id != desk.session_id]
    assert [record.status for record in opened] == [SessionStatus.CLOSED]


async def test_a_named_session_stays_open_when_the_call_is_refused(desk: Desk) -> None:
    desk.world.executions.refusal = InvalidRequest("Too long.", param="timeout_s")
    body = {"code": "1", "session_id": desk.session_id, "close_session": True}
    assert (await desk.client.post("/v1/executions", json=body)).status_code == 400
    assert desk.world.sessions.records[desk.session_id].status is SessionStatus.READY


@pytest.mark.parametrize("path", ["/v1/executions", "/v1/sessions/{id}/executions"])
async def test_what_a_caller_asks_for_goes_with_the_execution(desk: Desk, path: str) -> None:
    """Whoever runs it knows; and as long as its caller is there that is said again and again."""
    executions = desk.world.executions
    executions.cells["1"] = Cell(is_held=True)
    is_one_call = path == "/v1/executions"
    more = {"session_id": desk.session_id, "close_session": True} if is_one_call else {}
    body = {"code": "1", "stream": True, "cancel_on_disconnect": True, **more}
    async with desk.caller(path.format(id=desk.session_id), **body) as caller:
        async with asyncio.timeout(30):
            while not executions.attended:
                await asyncio.sleep(0.01)
        await caller.hang_up()
    [record] = [journal.record for journal in executions.journals.values()]
    assert set(executions.attended) == {record.id}
    assert record.terms.cancel_on_disconnect
    assert record.terms.close_session is is_one_call
    assert executions.cancelled == [record.id]


class CanBeRevoked:
    """Any key is alice's, until it is taken back."""

    is_revoked = False

    def find(self, key: str) -> Principal:
        if self.is_revoked:
            raise Unauthenticated("The API key was revoked.", code="key_revoked")
        return Principal("alice")


@pytest.mark.parametrize("path", ["/v1/executions", "/v1/sessions/{id}/executions"])
async def test_a_result_is_not_told_to_a_key_that_was_revoked_while_it_waited(path: str) -> None:
    keys = CanBeRevoked()
    world = World(small_settings(), keys=keys)
    cell = world.executions.cells["1"] = Cell(is_held=True)
    async with world.client(world.app()) as client:
        session_id = (await client.post("/v1/sessions", json={})).json()["id"]
        url, body = path.format(id=session_id), {"code": "1"}
        waiting = asyncio.create_task(client.post(url, json=body))
        async with asyncio.timeout(30):
            while not world.executions.journals:
                await asyncio.sleep(0)
        keys.is_revoked = True
        cell.release.set()
        answer = await waiting
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "key_revoked")
