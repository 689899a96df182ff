"""A service of our own while a block lasts: a subprocess with its own key and directory."""

import asyncio
import os
import secrets
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from sandbox_service.client import ClientError, SandboxClient, ServiceUnreachable

START_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 30.0
POLL_S = 0.2
LOG_LINES = 15


@dataclass(frozen=True, slots=True)
class ServiceAddress:
    """Where a service answers, and with which key."""

    url: str
    key: str


class ServiceDidNotStart(Exception):
    """The service ended or stayed silent; the message ends with what it last said."""


async def usable_service(client: SandboxClient) -> bool:
    """Whether a service answers there and takes the client's key."""
    try:
        await client.sessions(limit=1)
    except ClientError:
        return False
    return True


@asynccontextmanager
async def local_service() -> AsyncIterator[ServiceAddress]:
    """Start a service on a free loopback port; it and all it made are gone afterwards.

    Raises ServiceDidNotStart.
    """
    address = ServiceAddress(f"http://127.0.0.1:{_free_port()}", secrets.token_urlsafe(24))
    with tempfile.TemporaryDirectory(prefix="sandbox-") as directory:
        log = Path(directory) / "service.log"
        process = await _start(address, Path(directory), log)
        try:
            await _ready(process, address, log)
            yield address
        finally:
            await _stop(process)


@asynccontextmanager
async def running_service(tell: Callable[[str], None]) -> AsyncIterator[SandboxClient]:
    """A client of the service that runs already, else of one that lasts as long as the block."""
    async with SandboxClient() as client:
        if await usable_service(client):
            tell(f"Using the service at {client.base_url}.")
            yield client
            return
    tell("Starting the service ...")
    async with local_service() as address, SandboxClient(address.url, address.key) as client:
        tell(f"The service answers at {address.url}.")
        yield client


async def _start(address: ServiceAddress, directory: Path, log: Path) -> asyncio.subprocess.Process:
    port = address.url.rpartition(":")[2]
    arguments = ("-m", "sandbox_service", "serve", "--host", "127.0.0.1", "--port", port)
    with log.open("wb") as output:
        return await asyncio.create_subprocess_exec(
            sys.executable,
            *arguments,
            env=service_environment(os.environ, directory, address.key),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,  # Ctrl-C is ours: the service ends after its sessions
        )


def service_environment(outer: Mapping[str, str], directory: Path, key: str) -> dict[str, str]:
    """The caller's environment with a key, directories and an instance name that are ours alone."""
    own = {
        "SANDBOX_API_KEYS": f"demo:{key}",
        "SANDBOX_DATA_DIR": str(directory / "data"),
        "SANDBOX_RUNTIME_DIR": str(directory / "run"),
        "SANDBOX_INSTANCE": f"demo-{secrets.token_hex(4)}",
        "SANDBOX_ON_STOP": "remove",  # nobody takes these sandboxes up again
    }
    return {**outer, **own}


async def _ready(process: asyncio.subprocess.Process, address: ServiceAddress, log: Path) -> None:
    """Wait until the service can take work."""
    try:
        async with asyncio.timeout(START_TIMEOUT_S), SandboxClient(address.url) as client:
            while not await _answers(client):
                if process.returncode is not None:
                    raise ServiceDidNotStart(f"the service ended at once:\n{_tail(log)}")
                await asyncio.sleep(POLL_S)
    except TimeoutError as error:
        raise ServiceDidNotStart(f"the service did not get ready:\n{_tail(log)}") from error


async def _answers(client: SandboxClient) -> bool:
    try:
        return await client.is_ready()
    except ServiceUnreachable:
        return False


async def _stop(process: asyncio.subprocess.Process) -> None:
    """Ask the service to end, and insist if it does not."""
    if process.returncode is not None:
        return
    process.terminate()
    try:
        await asyncio.wait_for(process.wait(), STOP_TIMEOUT_S)
    except TimeoutError:
        process.kill()
        await process.wait()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def _tail(log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines()
    return "\n".join(lines[-LOG_LINES:])
