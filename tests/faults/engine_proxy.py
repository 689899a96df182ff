"""A unix socket in front of the engine's own, that can hold chosen calls, hang, or be gone.

One call at a time is on a connection, so whatever comes back belongs to the request before it.
"""

import asyncio
import re
from contextlib import suppress
from pathlib import Path
from typing import Literal

CHUNK = 64 * 1024
Part = Literal["request", "answer"]


class Hold:
    """Calls that match wait here, before the engine sees them or before their answer is passed on."""

    def __init__(self, pattern: str, part: Part, times: int) -> None:
        self.part = part
        self.seen: list[str] = []
        self._pattern = re.compile(pattern)
        self._left = times
        self._reached = asyncio.Event()
        self._released = asyncio.Event()

    def takes(self, line: str, part: Part) -> bool:
        return (
            part == self.part
            and not self._released.is_set()
            and self._left > 0
            and self._pattern.search(line) is not None
        )

    async def wait_in(self, line: str) -> None:
        self._left -= 1
        self.seen.append(line)
        self._reached.set()
        await self._released.wait()

    async def reached(self, deadline_s: float = 30.0) -> None:
        """Returns when the first call waits here."""
        async with asyncio.timeout(deadline_s):
            await self._reached.wait()

    def release(self) -> None:
        self._released.set()


class EngineProxy:
    """Passes everything on until it is told otherwise. A request whose caller has died is dropped."""

    def __init__(self, path: Path, engine_path: str = "/var/run/docker.sock") -> None:
        self.url = f"unix://{path}"
        self._path = path
        self._engine_path = engine_path
        self._holds: list[Hold] = []
        self._open = asyncio.Event()
        self._open.set()
        self._connections: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None
        self.requests: list[str] = []

    async def __aenter__(self) -> "EngineProxy":
        await self._listen()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.resume()
        await self.vanish()

    def hold(self, pattern: str, part: Part = "request", times: int = 1_000_000) -> Hold:
        """Let the calls whose request line matches wait, the first `times` of them."""
        hold = Hold(pattern, part, times)
        self._holds.append(hold)
        return hold

    def hang(self) -> None:
        """Take every call and every connection and answer none."""
        self._open.clear()

    def resume(self) -> None:
        self._open.set()
        for hold in self._holds:
            hold.release()

    async def vanish(self) -> None:
        """Cut every connection, and refuse new ones."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in list(self._connections):
            writer.close()
        self._path.unlink(missing_ok=True)

    async def come_back(self) -> None:
        await self._listen()

    async def _listen(self) -> None:
        self._server = await asyncio.start_unix_server(self._serve, self._path)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections.add(writer)
        try:
            await self._open.wait()
            there, back = await asyncio.open_unix_connection(self._engine_path)
            line = _Line(self, reader, writer, there, back)
            self._connections.add(back)
            try:
                await line.run()
            finally:
                self._connections.discard(back)
                back.close()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            self._connections.discard(writer)
            writer.close()

    async def gate(self, line: str, part: Part) -> None:
        await self._open.wait()
        for hold in self._holds:
            if hold.takes(line, part):
                await hold.wait_in(line)


class _Line:
    """One connection of a caller, and the one to the engine that belongs to it."""

    def __init__(
        self,
        proxy: EngineProxy,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        engine_reader: asyncio.StreamReader,
        engine_writer: asyncio.StreamWriter,
    ) -> None:
        self._proxy = proxy
        self._reader = reader
        self._writer = writer
        self._engine_reader = engine_reader
        self._engine_writer = engine_writer
        self._current = ""

    async def run(self) -> None:
        pumps = {asyncio.create_task(self._requests()), asyncio.create_task(self._answers())}
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)

    async def _requests(self) -> None:
        while True:
            head = await self._reader.readuntil(b"\r\n\r\n")
            body = await self._reader.readexactly(_length(head))
            self._current = head.split(b"\r\n", 1)[0].decode()
            self._proxy.requests.append(self._current)
            await self._gate_while_there(self._current)
            self._engine_writer.write(head + body)
            await self._engine_writer.drain()

    async def _gate_while_there(self, line: str) -> None:
        """Raises ConnectionError when the caller dies at the gate: its request goes nowhere."""
        gate = asyncio.create_task(self._proxy.gate(line, "request"))
        gone = asyncio.create_task(self._reader.read(1))
        try:
            await asyncio.wait({gate, gone}, return_when=asyncio.FIRST_COMPLETED)
            if gone.done():
                raise ConnectionError("the caller has gone")
        finally:
            gate.cancel()
            gone.cancel()
            with suppress(asyncio.CancelledError):
                await gone

    async def _answers(self) -> None:
        while data := await self._engine_reader.read(CHUNK):
            await self._proxy.gate(self._current, "answer")
            self._writer.write(data)
            await self._writer.drain()


def _length(head: bytes) -> int:
    match = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
    return int(match[1]) if match else 0
