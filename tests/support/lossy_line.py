"""A line to Redis that loses answers: what was asked for is done, and who asked never hears of it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

PIECE_BYTES = 65536


class LossyLine:
    """Passes bytes on both ways. The next `lose_next` results of scripts are swallowed, each with its connection.

    The next result after `delay_next_s` was set comes that much later.
    """

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.lose_next = 0
        self.delay_next_s = 0.0

    @property
    def port(self) -> int:
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    @asynccontextmanager
    async def listening(self) -> AsyncIterator["LossyLine"]:
        """Accept connections while the block lasts."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        try:
            yield self
        finally:
            self._server.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_server, to_server = await asyncio.open_connection("127.0.0.1", self._target_port)
        has_asked = asyncio.Event()
        ways = [
            asyncio.create_task(self._ask(reader, to_server, has_asked)),
            asyncio.create_task(self._answer(from_server, writer, has_asked)),
        ]
        self._tasks |= set(ways)
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            writer.transport.abort()
            to_server.transport.abort()
            self._tasks -= set(ways)
            for way in ways:
                way.cancel()

    async def _ask(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, has_asked: asyncio.Event
    ) -> None:
        with suppress(OSError):
            while piece := await reader.read(PIECE_BYTES):
                if b"EVAL" in piece:
                    has_asked.set()
                writer.write(piece)

    async def _answer(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, has_asked: asyncio.Event
    ) -> None:
        with suppress(OSError):
            while piece := await reader.read(PIECE_BYTES):
                is_result = has_asked.is_set() and not piece.startswith(b"-NOSCRIPT")
                if self.lose_next and is_result:
                    self.lose_next -= 1
                    return
                if is_result and self.delay_next_s:
                    pause_s, self.delay_next_s = self.delay_next_s, 0.0
                    await asyncio.sleep(pause_s)
                writer.write(piece)
