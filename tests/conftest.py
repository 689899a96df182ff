"""Fixtures shared by every suite: a real engine, a real service process, clients for it."""

import os
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import docker
import httpx
import pytest
from docker.errors import DockerException, ImageNotFound

from tests.support.service import ServiceProcess

IMAGE = "sandbox-python:latest"
pytest_plugins = ["tests.support.machine"]

# A run in the background of a script ignores Ctrl-C, and so would every program that a test starts.
signal.signal(signal.SIGINT, signal.default_int_handler)


def _missing(reason: str) -> None:
    """A missing engine fails in CI, and skips with its reason on a laptop."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def engine() -> Iterator[docker.DockerClient]:
    """A Docker engine that has the sandbox image."""
    try:
        client = docker.from_env(timeout=30)
        client.ping()
    except DockerException as error:
        _missing(f"no Docker engine answers: {error}")
    try:
        client.images.get(IMAGE)
    except ImageNotFound:
        _missing(f"the image {IMAGE} is not built: run `make image`")
    yield client
    client.close()


@pytest.fixture(scope="session")
def gvisor(engine: docker.DockerClient) -> None:
    """The engine has gVisor's runtime."""
    if "runsc" not in engine.info()["Runtimes"]:
        _missing("the engine has no runtime runsc: run `make runsc`")


@pytest.fixture(scope="session")
def service(engine: docker.DockerClient, tmp_path_factory) -> Iterator[ServiceProcess]:
    """A service process over Docker, with short idle times allowed. Must leave no container behind."""
    process = ServiceProcess(tmp_path_factory.mktemp("service"), backend="docker")
    with process:
        yield process
    assert containers_of(engine, process.instance) == []


@pytest.fixture
async def api(service: ServiceProcess) -> AsyncIterator[httpx.AsyncClient]:
    """An HTTP client with the first tenant's key."""
    async with service.client() as client:
        yield client


@pytest.fixture
def short_dir(request) -> Iterator[Path]:
    """A temporary directory with a path short enough for unix sockets."""
    import shutil
    import tempfile

    path = Path(tempfile.mkdtemp(prefix="sbx-"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


def containers_of(engine: docker.DockerClient, instance: str) -> list[str]:
    """Names of the containers that an instance of the service has at the engine."""
    label = f"sandbox-service.instance={instance}"
    found = engine.api.containers(all=True, filters={"label": label})
    return [container["Names"][0].removeprefix("/") for container in found]
