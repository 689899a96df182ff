"""Containers: the peers' own, started and removed here, and the service's, looked at."""

import secrets
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import docker

from sandbox_service.backends.docker.spec import INSTANCE_LABEL

STOP_S = 30


def processes_of(instance: str) -> list[list[int]]:
    """The process ids, as the machine sees them, of each container of a service."""
    client = docker.APIClient(version="auto")
    try:
        found = client.containers(filters={"label": f"{INSTANCE_LABEL}={instance}"})
        return [_pids(client.top(container["Id"])) for container in found]
    finally:
        client.close()


def _pids(top: dict[str, list[list[str]]]) -> list[int]:
    column = top["Titles"].index("PID")  # type: ignore[arg-type]
    return [int(row[column]) for row in top["Processes"]]


def address_of(name: str) -> str:
    """A container's address on the engine's bridge."""
    client = docker.APIClient(version="auto")
    try:
        networks = client.inspect_container(name)["NetworkSettings"]["Networks"]
        return str(networks["bridge"]["IPAddress"])
    finally:
        client.close()


def docker_run(image: str, options: Sequence[str], command: Sequence[str]) -> list[str]:
    """The command line that runs `command` with the image's Python for users."""
    python = "/opt/kernel/bin/python"
    return ["docker", "run", "--rm", *options, "--entrypoint", python, image, *command]


@contextmanager
def running_container(image: str, options: Sequence[str], command: Sequence[str]) -> Iterator[str]:
    """A container in the background, by its name; removed at the end."""
    name = f"bench-{secrets.token_hex(4)}"
    start = docker_run(image, ["--detach", "--name", name, *options], command)
    subprocess.run(start, check=True, stdout=subprocess.DEVNULL, timeout=STOP_S)
    try:
        yield name
    finally:
        stop = ["docker", "rm", "--force", name]
        subprocess.run(stop, check=True, stdout=subprocess.DEVNULL, timeout=STOP_S)
