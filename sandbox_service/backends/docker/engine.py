"""Calls to the engine, off the event loop: a bounded pool of threads, a deadline on every call."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import docker
import docker.utils
import requests
from docker.errors import APIError, DockerException

from sandbox_service.domain.errors import EngineUnavailable
from sandbox_service.domain.values import Capacity

WORKERS = 8
READ_MARGIN_S = 1.0
CAPACITY_S = 60.0

T = TypeVar("T")


def open_client(base_url: str | None, timeout_s: float) -> docker.APIClient:
    """A client of the engine, its API version settled. Blocks. Raises EngineUnavailable.

    None is the engine that `docker` would talk to: DOCKER_HOST and its certificates, or the local socket.
    """
    try:
        place = {"base_url": base_url} if base_url else docker.utils.kwargs_from_env()
        client = docker.APIClient(
            **place, version="auto", timeout=int(timeout_s) or 1, max_pool_size=WORKERS
        )
    except (DockerException, requests.RequestException, OSError) as error:
        raise _unavailable(error) from error
    client.trust_env = False
    return client


class Engine:
    """The docker client behind a pool of threads.

    Calls raise EngineUnavailable, or APIError when the engine understood and refused.
    """

    def __init__(self, client: docker.APIClient, timeout_s: float) -> None:
        self._client = client
        self._timeout_s = timeout_s
        self._pool = ThreadPoolExecutor(WORKERS, thread_name_prefix="engine")
        self._overdue: set[Future[Any]] = set()
        self._capacity: Capacity | None = None
        self._capacity_at = 0.0

    @classmethod
    @asynccontextmanager
    async def open(cls, base_url: str | None, timeout_s: float) -> AsyncIterator["Engine"]:
        client = await asyncio.to_thread(open_client, base_url, timeout_s)
        engine = cls(client, timeout_s)
        try:
            yield engine
        finally:
            engine._pool.shutdown(wait=False, cancel_futures=True)
            client.close()

    async def call(self, operation: Callable[[docker.APIClient], T]) -> T:
        """What `operation` returns. Fails at once when every thread is held by an overdue call."""
        if len(self._overdue) >= WORKERS:
            raise EngineUnavailable("The container engine does not answer.")
        future = self._pool.submit(self._run, operation)
        try:
            async with asyncio.timeout(self._timeout_s + READ_MARGIN_S):
                return await asyncio.wrap_future(future)
        except TimeoutError:
            self._give_up(future)
            seconds = f"{self._timeout_s:g} s"
            raise EngineUnavailable(f"The container engine did not answer in {seconds}.") from None

    async def capacity(self) -> Capacity:
        """Its processors and memory, as it said at most `CAPACITY_S` ago."""
        now = time.monotonic()
        if self._capacity is None or now - self._capacity_at > CAPACITY_S:
            self._capacity, self._capacity_at = await self.call(_capacity), now
        return self._capacity

    async def create(self, body: dict[str, Any], name: str) -> str:
        """Make a container; its id."""
        return await self.call(lambda client: _create(client, body, name))

    async def update(self, container: str, resources: dict[str, Any]) -> None:
        """Change the limits of a running container. The client's own call lacks some of them."""
        await self.call(lambda client: _update(client, container, resources, self._timeout_s))

    async def cpu_s(self, container: str) -> float | None:
        """CPU seconds of all its processes; None when there is no such container, or it does not run."""
        try:
            return await self.call(lambda client: _cpu_s(client, container))
        except APIError:
            return None

    def _run(self, operation: Callable[[docker.APIClient], T]) -> T:
        try:
            return operation(self._client)
        except APIError:
            raise
        except (DockerException, requests.RequestException, OSError) as error:
            raise _unavailable(error) from error

    def _give_up(self, future: Future[Any]) -> None:
        if future.cancel():
            return
        self._overdue.add(future)
        future.add_done_callback(self._overdue.discard)


def _capacity(client: docker.APIClient) -> Capacity:
    told = client.info()
    return Capacity(cpus=told["NCPU"], memory_bytes=told["MemTotal"])


def _create(client: docker.APIClient, body: dict[str, Any], name: str) -> str:
    created = client.create_container_from_config(body, name)  # type: ignore[no-untyped-call]
    return str(created["Id"])


def _cpu_s(client: docker.APIClient, container: str) -> float | None:
    stats = client.stats(container, decode=None, stream=False, one_shot=True)
    used_ns = stats.get("cpu_stats", {}).get("cpu_usage", {}).get("total_usage")
    return used_ns / 1e9 if used_ns else None


def _update(
    client: docker.APIClient, container: str, resources: dict[str, Any], timeout_s: float
) -> None:
    url = f"{client.base_url}/v{client.api_version}/containers/{container}/update"
    response = client.post(url, json=resources, timeout=timeout_s)
    if not response.ok:
        raise APIError("The engine refused the update.", response=response)


def _unavailable(error: Exception) -> EngineUnavailable:
    return EngineUnavailable(f"The container engine cannot be reached ({type(error).__name__}).")
