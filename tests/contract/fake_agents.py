"""Agents as real servers on a unix socket, named by how they behave."""

import asyncio
import json
from pathlib import Path
from typing import ClassVar, Self

END = {
    "seq": 2,
    "kind": "end",
    "reason": "finished",
    "incarnation": 1,
    "exit": None,
    "changed": [],
    "changes_truncated": False,
}
KNOWN_ERRORS = {
    400: "invalid_name",
    404: "not_found",
    409: "not_a_file",
    503: "kernel_unavailable",
    507: "workspace_full",
    500: "surprise",
}


def stdout_line(seq: int, text: str) -> bytes:
    """A line with a stream message, as the agent sends it."""
    content = {"name": "stdout", "text": text}
    line = {
        "seq": seq,
        "kind": "message",
        "channel": "iopub",
        "header": {"msg_type": "stream"},
        "parent_header": {},
        "metadata": {},
        "content": content,
    }
    return json.dumps(line).encode() + b"\n"


def end_line(seq: int) -> bytes:
    return json.dumps({**END, "seq": seq}).encode() + b"\n"


class FakeAgent:
    """A server that reads requests and leaves the answer to its subclass."""

    def __init__(self, directory: Path) -> None:
        self._socket = directory / "agent.sock"
        self.path = str(self._socket)
        self.connections = 0
        self.requests: list[str] = []
        self._serving: set[asyncio.Task[None]] = set()
        self.hung_up = asyncio.Event()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_unix_server(self._serve, self.path)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)
        self._socket.unlink()

    async def answer(self, writer: asyncio.StreamWriter) -> None:
        raise NotImplementedError

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        try:
            while not writer.is_closing():
                await self._read_request(reader)
                await self.answer(writer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            self.hung_up.set()
        finally:
            writer.close()

    async def _read_request(self, reader: asyncio.StreamReader) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        self.requests.append(head.split(b"\r\n", 1)[0].decode())
        if b"transfer-encoding: chunked" in head:
            await _read_chunks(reader)
        for line in head.split(b"\r\n"):
            if line.startswith(b"content-length:"):
                await reader.readexactly(int(line.split(b":")[1]))


async def _read_chunks(reader: asyncio.StreamReader) -> None:
    while size := int(await reader.readline(), 16):
        await reader.readexactly(size + 2)
    await reader.readline()


def respond(writer: asyncio.StreamWriter, body: bytes, status: int = 200) -> None:
    """A complete answer."""
    head = f"HTTP/1.1 {status} OK\r\ncontent-length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body)


def open_stream(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")


def send_chunk(writer: asyncio.StreamWriter, data: bytes) -> None:
    writer.write(b"%x\r\n%b\r\n" % (len(data), data))


class Answers(FakeAgent):
    """Gives the same answer to everything."""

    def __init__(self, directory: Path, body: bytes, status: int = 200) -> None:
        super().__init__(directory)
        self._body = body
        self._status = status

    async def answer(self, writer: asyncio.StreamWriter) -> None:
        respond(writer, self._body, self._status)


class Streams(FakeAgent):
    """Sends the given pieces as chunks, then ends the body."""

    def __init__(self, directory: Path, *pieces: bytes) -> None:
        super().__init__(directory)
        self._pieces = pieces

    async def answer(self, writer: asyncio.StreamWriter) -> None:
        open_stream(writer)
        for piece in self._pieces:
            send_chunk(writer, piece)
            await writer.drain()
            await asyncio.sleep(0)
        send_chunk(writer, b"")


class StallsMidStream(Streams):
    """Sends the pieces, and nothing more."""

    async def answer(self, writer: asyncio.StreamWriter) -> None:
        open_stream(writer)
        for piece in self._pieces:
            send_chunk(writer, piece)
        await writer.drain()
        await asyncio.Event().wait()


class ClosesMidStream(Streams):
    """Sends the pieces and hangs up, without the end of the body."""

    async def answer(self, writer: asyncio.StreamWriter) -> None:
        open_stream(writer)
        for piece in self._pieces:
            send_chunk(writer, piece)
        await writer.drain()
        writer.close()


class Floods(FakeAgent):
    """Sends the same piece without end."""

    def __init__(self, directory: Path, piece: bytes) -> None:
        super().__init__(directory)
        self._piece = piece

    async def answer(self, writer: asyncio.StreamWriter) -> None:
        open_stream(writer)
        while True:
            send_chunk(writer, self._piece)
            await writer.drain()


class NeverIdle(Answers):
    """Answers at once that its kernel is still starting."""

    KERNEL: ClassVar = {"kernel": {"state": "starting", "incarnation": 1}, "executions": []}

    def __init__(self, directory: Path) -> None:
        super().__init__(directory, json.dumps(self.KERNEL).encode())


class NeverAnswers(FakeAgent):
    """Takes requests and keeps still."""

    async def answer(self, writer: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()


class DripsItsHead(FakeAgent):
    """Sends a byte of its answer's head now and then, for ever."""

    START = b"HTTP/1.1 200 OK\r\nx: "

    async def answer(self, writer: asyncio.StreamWriter) -> None:
        writer.write(self.START)
        while True:
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.02)


class DripsItsBody(DripsItsHead):
    """Sends a byte of a long body now and then."""

    START = b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n"


class DiesAfterConnect(FakeAgent):
    """Hangs up as soon as it is asked."""

    async def answer(self, writer: asyncio.StreamWriter) -> None:
        writer.close()


class SpeaksGarbage(FakeAgent):
    """Answers with bytes that are no HTTP."""

    async def answer(self, writer: asyncio.StreamWriter) -> None:
        writer.write(b"\x00\xff\xfeSSH-2.0 hello\r\n\r\n")


class LiesAboutSize(FakeAgent):
    """Claims a hundred bytes, sends ten, hangs up."""

    async def answer(self, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n0123456789")
        await writer.drain()
        writer.close()


class Refuses(Answers):
    """Answers everything with one status of the protocol."""

    def __init__(self, directory: Path, status: int) -> None:
        error = {"code": KNOWN_ERRORS[status], "message": "<b>from inside</b>"}
        super().__init__(directory, json.dumps({"error": error}).encode(), status)
