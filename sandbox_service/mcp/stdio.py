"""MCP over stdio, for an assistant on a person's own computer: one client, one kept session."""

import asyncio
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from mcp.server.stdio import stdio_server

from sandbox_service.client import ClientError, SandboxClient
from sandbox_service.mcp.calls import Place
from sandbox_service.mcp.server import Context, create_server
from sandbox_service.mcp.sessions import KeptSession
from sandbox_service.mcp.tools import definitions

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class StdioOptions:
    """Where the service is, and a folder of this computer that files may be uploaded from."""

    url: str | None = None
    folder: Path | None = None


async def serve_stdio(options: StdioOptions) -> None:
    """Serve the client at stdin and stdout until it closes stdin; then close the session.

    Nothing but the protocol is written to stdout; the log is on stderr.
    """
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s", stream=sys.stderr)
    for talkative in ("mcp", "httpx"):
        logging.getLogger(talkative).setLevel(logging.WARNING)
    async with SandboxClient(options.url) as client:
        kept = KeptSession(client)
        _close_on_signals(kept)
        await _tell_readiness(client)
        try:
            await _serve(
                Place(client, kept, client.base_url, keeps_session=True, folder=options.folder)
            )
        finally:
            await kept.close()


async def _serve(place: Place) -> None:
    @asynccontextmanager
    async def open_place(context: Context) -> AsyncIterator[Place]:
        yield place

    tools = definitions(has_folder=place.folder is not None)
    server = create_server(tools, open_place, keeps_session=True)
    async with stdio_server() as (reader, writer):
        await server.run(reader, writer, server.create_initialization_options())


async def _tell_readiness(client: SandboxClient) -> None:
    """A word in the log for the person who sets this up: the client shows it, or keeps it."""
    if not os.environ.get("SANDBOX_API_KEY"):
        logger.warning("api_key_missing set SANDBOX_API_KEY to a key of the service")
    try:
        is_ready = await client.is_ready()
    except ClientError as error:
        logger.warning("service_not_reached %s", error)
        return
    logger.info("service_reached url=%s ready=%s", client.base_url, is_ready)


def _close_on_signals(kept: KeptSession) -> None:
    """On SIGINT and SIGTERM close the session and leave: reading stdin cannot be interrupted."""
    loop = asyncio.get_running_loop()
    leaving: set[asyncio.Task[None]] = set()

    async def leave(number: int) -> None:
        try:
            await kept.close()
        finally:
            os._exit(128 + number)

    def begin_to_leave(number: int) -> None:
        leaving.add(loop.create_task(leave(number)))

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, begin_to_leave, number)
