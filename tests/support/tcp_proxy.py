"""A TCP port in front of another, that can stall, slow down, cut connections, or be gone."""

import asyncio

from tests.support.ports import free_port

CHUNK = 64 * 1024


class TcpProxy:
    """Passes bytes on, in both directions, until it is told otherwise."""

    def __init__(self, target_port: int) -> None:
        self.port = free_port()
        self.delay_s = 0.0
        self.connections = 0
        self._target_port = target_port
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> "TcpProxy":
        await self.come_back()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.resume()
        await self.vanish()

    @property
    def url(self) -> str:
        """Of an HTTP service behind it."""
        return f"http://127.0.0.1:{self.port}"

    def stall(self) -> None:
        """Take bytes and connections, and pass nothing on."""
        self._flowing.clear()

    def resume(self) -> None:
        self._flowing.set()

    def cut(self) -> None:
        """End every connection; new ones are served."""
        for writer in list(self._writers):
            writer.transport.abort()

    async def vanish(self) -> None:
        """End every connection, and refuse new ones."""
        if self._server is not None:
            self._server.close()
            self._server = None
        self.cut()

    async def come_back(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.add(writer)
        try:
            await self._flowing.wait()
            there, back = await asyncio.open_connection("127.0.0.1", self._target_port)
            self._writers.add(back)
            try:
                await self._pump_both(reader, writer, there, back)
            finally:
                self._writers.discard(back)
                back.close()
        except OSError:
            pass
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _pump_both(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        there: asyncio.StreamReader,
        back: asyncio.StreamWriter,
    ) -> None:
        pumps = [
            asyncio.create_task(self._pump(reader, back)),
            asyncio.create_task(self._pump(there, writer)),
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(CHUNK):
            if self.delay_s:
                await asyncio.sleep(self.delay_s)
            await self._flowing.wait()
            writer.write(data)
            await writer.drain()
