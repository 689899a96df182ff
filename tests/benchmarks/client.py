"""A client that costs little: HTTP/1.1 on one kept connection of plain asyncio streams (TCP_NODELAY)."""

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Self

from tests.benchmarks.samples import require

HOST = "127.0.0.1"
ANSWER_S = 60
LONGEST_HEAD = 64 * 1024
LAST_CHUNK = b"\r\n0\r\n\r\n"
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: bytes

    def json(self, status: int) -> Any:
        """The body, if the status is the one expected. Raises WrongAnswer."""
        require(self.status == status, f"status {self.status}: {self.body[:200]!r}")
        return json.loads(self.body)


class Connection:
    """One connection; requests on it follow one another. Made again when the server has closed it."""

    def __init__(self, port: int, key: str) -> None:
        self._port = port
        self._common = f"Host: {HOST}\r\nAuthorization: Bearer {key}\r\n"

    @classmethod
    @asynccontextmanager
    async def open(cls, port: int, key: str) -> AsyncIterator[Self]:
        connection = cls(port, key)
        await connection._connect()
        try:
            yield connection
        finally:
            connection._writer.close()

    async def _connect(self) -> None:
        self._reader, self._writer = await asyncio.open_connection(
            HOST, self._port, limit=LONGEST_HEAD
        )

    async def ask(self, method: str, path: str, value: object = None) -> Answer:
        """Send a request with a JSON body and hold its complete answer."""
        async with asyncio.timeout(ANSWER_S):
            status, head = await self._send(method, path, value, "application/json")
            length = _LENGTH.search(head)
            body = await self._reader.readexactly(int(length[1])) if length else b""
            return Answer(status, body)

    async def follow(self, path: str, value: object) -> AsyncIterator[tuple[float, Any]]:
        """Server-sent events as (time of arrival, data), up to the one that ends the execution."""
        async with asyncio.timeout(ANSWER_S):
            await self._send("POST", path, value, "text/event-stream")
            is_last = False
            while line := await self._reader.readline():
                arrived = time.time()
                if line.startswith(b"event: execution.completed"):
                    is_last = True
                elif line.startswith(b"data: "):
                    yield arrived, json.loads(line.removeprefix(b"data: "))
                    if is_last:
                        await self._reader.readuntil(LAST_CHUNK)
                        return

    async def _send(self, method: str, path: str, value: object, accept: str) -> tuple[int, bytes]:
        if self._reader.at_eof():
            self._writer.close()
            await self._connect()
        body = b"" if value is None else json.dumps(value).encode()
        head = (
            f"{method} {path} HTTP/1.1\r\n{self._common}Accept: {accept}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        self._writer.write(head.encode() + body)
        answer = await self._reader.readuntil(b"\r\n\r\n")
        return int(answer[9:12]), answer


@dataclass(frozen=True, slots=True)
class Api:
    """The calls of the service that the benchmarks make."""

    connection: Connection

    async def open_session(self, **fields: object) -> str:
        answer = await self.connection.ask("POST", "/v1/sessions", fields)
        return str(answer.json(201)["id"])

    async def execute(self, session_id: str, code: str) -> Answer:
        return await self.connection.ask(
            "POST", f"/v1/sessions/{session_id}/executions", {"code": code}
        )

    async def restart(self, session_id: str) -> None:
        (await self.connection.ask("POST", f"/v1/sessions/{session_id}/restart")).json(200)

    async def close_session(self, session_id: str) -> None:
        (await self.connection.ask("DELETE", f"/v1/sessions/{session_id}")).json(200)

    async def metrics(self) -> dict[str, float]:
        answer = await self.connection.ask("GET", "/metrics")
        lines = [line.rpartition(" ") for line in answer.body.decode().splitlines()]
        return {name: float(value) for name, _, value in lines if name and not name.startswith("#")}
