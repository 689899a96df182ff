"""A service with a template for each runtime, sessions in it, and an unlocked container to compare with."""

import json
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
import httpx
import pytest

from tests.conftest import IMAGE, containers_of
from tests.support.service import ServiceProcess

RUNTIMES = {"runc": "python", "runsc": "gvisor"}
TEMPLATES = [
    {"name": "gvisor", "runtime": "runsc"},
    {"name": "absent", "runtime": "not-there"},
]
CELLS = Path(__file__).parent / "cells"


@dataclass(frozen=True, slots=True)
class Prisoner:
    """A session from whose inside the tests ask."""

    client: httpx.AsyncClient
    session_id: str

    async def run(self, code: str, timeout_s: float = 30) -> dict[str, Any]:
        """The finished execution."""
        body = {"code": code, "timeout_s": timeout_s}
        answer = await self.client.post(f"/v1/sessions/{self.session_id}/executions", json=body)
        assert answer.status_code == 200, answer.text
        execution: dict[str, Any] = answer.json()
        return execution

    async def says(self, code: str) -> str:
        """What the cell printed; the cell must end well."""
        execution = await self.run(code)
        assert execution["status"] == "ok", execution["outputs"]
        printed = [o for o in execution["outputs"] if o.get("name") == "stdout"]
        return "".join(output["text"] for output in printed)

    async def asks(self, code: str) -> Any:
        """The JSON that the cell printed."""
        return json.loads(await self.says(code))

    async def files(self, path: str = "") -> httpx.Response:
        return await self.client.get(f"/v1/sessions/{self.session_id}/files{path}")

    async def archive(self) -> httpx.Response:
        return await self.client.get(f"/v1/sessions/{self.session_id}/archive")


@pytest.fixture(scope="session")
def prison(engine: docker.DockerClient, tmp_path_factory) -> Iterator[ServiceProcess]:
    """A service with a template for each runtime. Must leave no container behind."""
    directory = tmp_path_factory.mktemp("prison")
    with ServiceProcess(directory, SANDBOX_TEMPLATES=json.dumps(TEMPLATES)) as process:
        yield process
    assert containers_of(engine, process.instance) == []


@pytest.fixture(scope="session")
async def warden(prison: ServiceProcess) -> AsyncIterator[httpx.AsyncClient]:
    """An HTTP client of that service."""
    async with prison.client(prison.full_key) as client:
        yield client


@pytest.fixture(scope="session", params=list(RUNTIMES))
def runtime(request: pytest.FixtureRequest) -> str:
    """Each runtime; gVisor where it is installed."""
    if request.param == "runsc":
        request.getfixturevalue("gvisor")
    return str(request.param)


@pytest.fixture(scope="session")
async def inside(warden: httpx.AsyncClient, runtime: str) -> AsyncIterator[Prisoner]:
    """A session that the tests of a runtime share."""
    async with opened(warden, runtime) as prisoner:
        yield prisoner


@pytest.fixture(scope="session")
async def neighbour(warden: httpx.AsyncClient, runtime: str) -> AsyncIterator[Prisoner]:
    """A second session beside it."""
    async with opened(warden, runtime) as prisoner:
        yield prisoner


@asynccontextmanager
async def opened(
    client: httpx.AsyncClient, runtime: str, **limits: float
) -> AsyncIterator[Prisoner]:
    """A session of one's own."""
    body = {"template": RUNTIMES[runtime], "limits": limits}
    answer = await client.post("/v1/sessions", json=body)
    assert answer.status_code == 201, answer.text
    session_id = answer.json()["id"]
    yield Prisoner(client, session_id)
    await client.delete(f"/v1/sessions/{session_id}")


def cell(name: str, **words: object) -> str:
    """The source of a cell, with the words in capitals that it leaves open."""
    source = (CELLS / f"{name}.py").read_text()
    return "".join(f"{word} = {value!r}\n" for word, value in words.items()) + source


UNLOCKED = {
    "NetworkMode": "host",
    "ExtraHosts": ["control.test:127.0.0.1"],
    "CapAdd": ["NET_ADMIN", "SYS_ADMIN", "SYS_BOOT", "SYS_NICE", "SYS_PTRACE", "SYSLOG"],
    "SecurityOpt": ["seccomp=unconfined", "apparmor=unconfined"],
    "MaskedPaths": [],
    "ReadonlyPaths": [],
    "Binds": ["/var/run/docker.sock:/var/run/docker.sock"],
    "Devices": [
        {"PathOnHost": "/dev/kmsg", "PathInContainer": "/dev/kmsg", "CgroupPermissions": "rwm"}
    ],
    "LogConfig": {"Type": "json-file"},
}


def unlocked(engine: docker.DockerClient, source: str) -> Any:
    """The JSON that the same source prints as root in an open container on the host's network.

    The positive control: what is refused inside must be seen to be allowed here.
    """
    body = {
        "Image": IMAGE,
        "Entrypoint": ["/opt/kernel/bin/python", "-W", "ignore", "-c", source],
        "User": "0",
        "HostConfig": UNLOCKED,
    }
    created = engine.api.create_container_from_config(body)
    try:
        engine.api.start(created["Id"])
        status = engine.api.wait(created["Id"], timeout=60)["StatusCode"]
        printed = engine.api.logs(created["Id"], stdout=True, stderr=status != 0)
    finally:
        engine.api.remove_container(created["Id"], force=True)
    assert status == 0, printed
    return json.loads(printed)


@pytest.fixture(scope="session")
def echo_ports() -> Iterator[dict[str, int]]:
    """Ports of this machine that answer: a datagram with a datagram, IPv6 by accepting."""
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp,
        socket.socket(socket.AF_INET6) as tcp,
    ):
        udp.bind(("127.0.0.1", 0))
        tcp.bind(("::1", 0))
        tcp.listen()
        thread = threading.Thread(target=_echo, args=[udp])
        thread.start()
        port = udp.getsockname()[1]
        yield {"UDP_PORT": port, "IPV6_PORT": tcp.getsockname()[1]}
        udp.sendto(b"", ("127.0.0.1", port))
        thread.join(10)


def _echo(line: socket.socket) -> None:
    """Answers every datagram until an empty one comes."""
    while True:
        datagram, sender = line.recvfrom(16)
        if not datagram:
            return
        line.sendto(datagram, sender)
