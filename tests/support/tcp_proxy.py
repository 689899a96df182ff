"""A TCP proxy in front of a service, whose connections can be cut in the middle of a stream."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

PIECE_BYTES = 65536


class TcpProxy:
    """Passes bytes on both ways. `cut` breaks every connection there is; later ones work again."""

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None
        self.connections = 0

    @property
    def url(self) -> str:
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    @asynccontextmanager
    async def listening(self) -> AsyncIterator["TcpProxy"]:
        """Accept connections while the block lasts."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        try:
            yield self
        finally:
            self._server.close()
            self.cut()
            await self._server.wait_closed()

    def cut(self) -> None:
        """Reset every connection, both ways, whatever is on its way."""
        for writer in self._writers:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        to_client, from_client = writer, reader
        from_service, to_service = await asyncio.open_connection("127.0.0.1", self._target_port)
        self._writers |= {to_client, to_service}
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(_pass_on(from_client, to_service))
                both.create_task(_pass_on(from_service, to_client))
        finally:
            self._writers -= {to_client, to_service}


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while piece := await reader.read(PIECE_BYTES):
            writer.write(piece)
            await writer.drain()
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()
