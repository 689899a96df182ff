"""A line on which each connection passes so many bytes a second, either way."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

PIECE_BYTES = 8192


@asynccontextmanager
async def slow_line(target_port: int, bytes_per_s: int) -> AsyncIterator[int]:
    """The port of a line to `target_port`."""
    ways: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_target, to_target = await asyncio.open_connection("127.0.0.1", target_port)
        for way in (
            _crawl(reader, to_target, bytes_per_s),
            _crawl(from_target, writer, bytes_per_s),
        ):
            ways.add(asyncio.create_task(way))

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield int(server.sockets[0].getsockname()[1])
    finally:
        server.close()
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)


async def _crawl(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, bytes_per_s: int
) -> None:
    try:
        with suppress(OSError):
            while piece := await reader.read(PIECE_BYTES):
                await asyncio.sleep(len(piece) / bytes_per_s)
                writer.write(piece)
                await writer.drain()
    finally:
        writer.transport.abort()
