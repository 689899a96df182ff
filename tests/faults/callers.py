"""Callers of a cluster, as clients are: each call on some replica, noted in the history."""

import asyncio
import json
import random
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Any

import httpx

from tests.faults.history import FINAL, Call, Event, History, Json, Reading
from tests.support.cluster import Cluster, Replica

CONNECT_S = 5.0
ANSWER_S = 150.0
RETRY_PAUSE_S = 0.2
STARTS_FILE = "~/.starts"
RETRYABLE = frozenset({None, 502, 503})
Stop = Callable[[Event], bool]


class NobodyUp(Exception):
    """No replica lives that could be asked."""


class Caller:
    """One tenant. `replica` chooses who is asked; None means any that is up."""

    def __init__(self, cluster: Cluster, history: History, tenant: str) -> None:
        self.tenant = tenant
        self.token = f"{tenant}-{secrets.token_hex(8)}"
        self.history = history
        self._cluster = cluster
        self._clients: dict[str, httpx.AsyncClient] = {}
        history.tenant_token(tenant, self.token)

    async def __aenter__(self) -> "Caller":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.disconnect()

    async def disconnect(self) -> None:
        """Close what is kept open for the next call, as a client that has gone has done."""
        while self._clients:
            await self._clients.popitem()[1].aclose()

    def client(self, replica: Replica) -> httpx.AsyncClient:
        if replica.url not in self._clients:
            headers = {"Authorization": f"Bearer {self._cluster.keys[self.tenant]}"}
            self._clients[replica.url] = httpx.AsyncClient(
                base_url=replica.url,
                headers=headers,
                timeout=httpx.Timeout(ANSWER_S, connect=CONNECT_S),
                limits=httpx.Limits(max_connections=None, max_keepalive_connections=50),
            )
        return self._clients[replica.url]

    def _choose(self, replica: Replica | None) -> Replica:
        up = self._cluster.up
        if replica is None and not up:
            raise NobodyUp
        return replica or random.choice(up)

    async def call(
        self,
        kind: str,
        method: str,
        path: str,
        *,
        replica: Replica | None = None,
        key: str | None = None,
        session_id: str = "",
        execution_id: str = "",
        **options: Any,
    ) -> Call:
        """One request with a JSON answer."""
        chosen = self._choose(replica)
        call = self.history.begin(
            kind, self.tenant, chosen.name, session_id=session_id, execution_id=execution_id
        )
        headers = {"Idempotency-Key": key} if key else {}
        text = ""
        try:
            answer = await self.client(chosen).request(method, path, headers=headers, **options)
            text = answer.text
            _take_answer(call, answer, text)
        except httpx.HTTPError as error:
            call.broken = type(error).__name__
        finally:
            self.history.end(call, text)
        return call

    async def open(
        self, *, replica: Replica | None = None, key: str | None = None, **body: Any
    ) -> Call:
        metadata = {"owner": self.token, **body.pop("metadata", {})}
        return await self.call(
            "open",
            "POST",
            "/v1/sessions",
            replica=replica,
            key=key,
            json={"metadata": metadata, **body},
        )

    async def run(
        self,
        session_id: str,
        code: str,
        *,
        replica: Replica | None = None,
        key: str | None = None,
        **body: Any,
    ) -> Call:
        """Run a cell and wait for its result."""
        return await self.call(
            "run",
            "POST",
            f"/v1/sessions/{session_id}/executions",
            replica=replica,
            key=key,
            session_id=session_id,
            json={"code": self.marked(code), "stream": False, **body},
        )

    def marked(self, code: str) -> str:
        """The code, with a line that leaves a trace of every start, and one that says whose it is."""
        mark = self.history.next_mark()
        return (
            f"with open(__import__('os').path.expanduser({STARTS_FILE!r}), 'a') as _file:\n"
            f"    _ = _file.write('{mark}\\n')\n"
            f"print('{self.token} {mark}')\n{code}"
        )

    async def read_session(self, session_id: str, replica: Replica | None = None) -> Call:
        path = f"/v1/sessions/{session_id}"
        return await self.call("read_session", "GET", path, replica=replica, session_id=session_id)

    async def touch(self, session_id: str, replica: Replica | None = None) -> Call:
        """Count activity on the session."""
        return await self.call(
            "touch",
            "PATCH",
            f"/v1/sessions/{session_id}",
            replica=replica,
            session_id=session_id,
            json={},
        )

    async def read_execution(
        self, session_id: str, execution_id: str, replica: Replica | None = None
    ) -> Call:
        return await self.call(
            "read_execution",
            "GET",
            f"/v1/sessions/{session_id}/executions/{execution_id}",
            replica=replica,
            session_id=session_id,
            execution_id=execution_id,
        )

    async def close(self, session_id: str, replica: Replica | None = None) -> Call:
        path = f"/v1/sessions/{session_id}"
        return await self.call("close", "DELETE", path, replica=replica, session_id=session_id)

    async def sessions(self, replica: Replica | None = None) -> list[Json]:
        """Every session of the tenant, over all pages. Raises AssertionError when that is refused."""
        found: list[Json] = []
        after: str | None = None
        while True:
            params = {"limit": 100, **({"after": after} if after else {})}
            page = await self.call("list", "GET", "/v1/sessions", replica=replica, params=params)
            assert page.is_ok, page
            found.extend(page.body["data"])
            after = page.body["next_cursor"]
            if after is None:
                return found

    async def stream(
        self,
        session_id: str,
        code: str,
        *,
        reading: Reading | None = None,
        replica: Replica | None = None,
        key: str | None = None,
        stop: Stop = lambda event: False,
        **body: Any,
    ) -> Reading:
        """Run a cell and read its events, up to the end or until `stop`; then hang up."""
        reading = reading or self._new_reading(session_id)
        await self._read(
            "stream",
            reading,
            stop,
            replica,
            method="POST",
            url=f"/v1/sessions/{session_id}/executions",
            json={"code": self.marked(code), "stream": True, **body},
            headers={"Idempotency-Key": key} if key else {},
        )
        return reading

    async def follow(
        self,
        reading: Reading,
        *,
        replica: Replica | None = None,
        stop: Stop = lambda event: False,
    ) -> Call:
        """Take the stream up again where the reading stands."""
        path = f"/v1/sessions/{reading.session_id}/executions/{reading.execution_id}/events"
        headers = {"Last-Event-ID": str(reading.last_id)}
        return await self._read(
            "follow", reading, stop, replica, method="GET", url=path, headers=headers
        )

    async def follow_to_end(self, reading: Reading, deadline_s: float) -> Json:
        """Come back until the execution has ended; its record. Raises AssertionError after the deadline."""
        last = time.monotonic() + deadline_s
        while reading.final is None:
            assert time.monotonic() < last, f"no end in {deadline_s:g} s: {reading}"
            with suppress(NobodyUp):
                await self.follow(reading)
            if reading.final is None:
                await asyncio.sleep(RETRY_PAUSE_S)
        return reading.final

    def _new_reading(self, session_id: str) -> Reading:
        reading = Reading(self.tenant, session_id)
        self.history.readings.append(reading)
        return reading

    async def _read(
        self,
        kind: str,
        reading: Reading,
        stop: Stop,
        replica: Replica | None,
        **request: Any,
    ) -> Call:
        chosen = self._choose(replica)
        call = self.history.begin(
            kind,
            self.tenant,
            chosen.name,
            session_id=reading.session_id,
            execution_id=reading.execution_id,
        )
        texts: list[str] = []
        try:
            async with self.client(chosen).stream(**request) as answer:
                if answer.headers.get("content-type", "").startswith("text/event-stream"):
                    call.status = answer.status_code
                    await _take_events(call, reading, answer, stop, texts)
                else:
                    await answer.aread()
                    texts.append(answer.text)
                    _take_answer(call, answer, answer.text)
        except httpx.HTTPError as error:
            call.broken = type(error).__name__
        finally:
            self.history.end(call, "\n".join(texts))
        return call

    async def insist(
        self,
        ask: Callable[[], Awaitable[Call]],
        deadline_s: float,
        also: frozenset[int] = frozenset(),
    ) -> Call:
        """Ask again while there is no answer or one that says "later"; the last answer."""
        last = time.monotonic() + deadline_s
        while True:
            try:
                call = await ask()
                if call.status not in RETRYABLE | also and not call.broken:
                    return call
            except NobodyUp:
                call = None
            if time.monotonic() > last:
                raise AssertionError(f"no answer in {deadline_s:g} s: {call}")
            await asyncio.sleep(RETRY_PAUSE_S)

    async def opened(self, deadline_s: float = 60.0, key: str | None = None, **body: Any) -> str:
        """Open a session, asking again under one key until it is there; its id."""
        key = key or secrets.token_hex(8)
        call = await self.insist(lambda: self.open(key=key, **body), deadline_s)
        assert call.status == 201, call
        return str(call.body["id"])

    async def ran(self, session_id: str, code: str, deadline_s: float = 60.0, **body: Any) -> Json:
        """Run a cell, asking again under one key until there is a result; its record."""
        key, marked = secrets.token_hex(8), self.marked(code)
        call = await self.insist(
            lambda: self.call(
                "run",
                "POST",
                f"/v1/sessions/{session_id}/executions",
                key=key,
                session_id=session_id,
                json={"code": marked, "stream": False, **body},
            ),
            deadline_s,
        )
        assert call.status == 200, call
        return call.body

    async def witness(self, session_id: str, deadline_s: float = 60.0) -> bool:
        """Note which cells started in the session, as its own file says; False when it is over."""
        code = (
            "import os; print('starts:', *open(os.path.expanduser("
            f"{STARTS_FILE!r})).read().split())"
        )
        call = await self.insist(
            lambda: self.run(session_id, code, timeout_s=20), deadline_s, also=frozenset({429})
        )
        if call.status != 200 or call.body["status"] != "ok":
            return False
        lines = "".join(node.get("text", "") for node in call.body["outputs"]).splitlines()
        for line in lines:
            if line.startswith("starts:"):
                self.history.note_starts(session_id, line.split()[1:])
        return True


def _take_answer(call: Call, answer: httpx.Response, text: str) -> None:
    call.status = answer.status_code
    call.retry_after = answer.headers.get("retry-after")
    try:
        body = json.loads(text) if text else {}
    except ValueError:
        body = {"text": text}
    call.body = body if isinstance(body, dict) else {"value": body}
    match call.body.get("object"):
        case "session":
            call.session_id = call.body["id"]
        case "execution":
            call.session_id, call.execution_id = call.body["session_id"], call.body["id"]


async def _take_events(
    call: Call, reading: Reading, answer: httpx.Response, stop: Stop, texts: list[str]
) -> None:
    async for event in _events(answer, texts):
        call.events.append(event)
        if event.id is not None:
            reading.events.append(event)
        if event.type == "execution.started":
            reading.execution_id = event.data["execution"]["id"]
            call.execution_id = reading.execution_id
        if event.type == "error":
            call.broken = event.data["error"]["code"]
        if stop(event):
            return


async def _events(answer: httpx.Response, texts: list[str]) -> AsyncIterator[Event]:
    """The events of a stream; a frame that was cut off is none."""
    fields: dict[str, str] = {}
    async for line in answer.aiter_lines():
        texts.append(line)
        if line:
            name, _, value = line.partition(":")
            if name:
                fields[name] = value.lstrip()
            continue
        if "data" in fields:
            number = int(fields["id"]) if "id" in fields else None
            yield Event(number, fields.get("event", "message"), json.loads(fields["data"]))
        fields = {}


def is_final(execution: Json) -> bool:
    return execution["status"] in FINAL
