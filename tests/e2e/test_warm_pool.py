"""Warm sandboxes on the real engine: each used once, without a trace of how it was warmed."""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress

import docker
import httpx
import pytest
from docker.errors import APIError
from docker.models.containers import Container

from tests.conftest import containers_of
from tests.support.service import ServiceProcess

pytestmark = pytest.mark.docker

TRACES = """
import os, random, sys
import numpy as np
names = sorted(n for n in globals() if not n.startswith("_") and n not in ("In", "Out", "exit", "quit",
               "get_ipython", "open", "os", "random", "sys", "np"))
import matplotlib.pyplot as plt
print(names, len(In), Out, plt.get_fignums(), os.listdir("."))
"""
DRAWS = "import random, numpy as np, uuid; print(random.random(), np.random.rand(), uuid.uuid4())"


@pytest.fixture(scope="module")
def pooled(
    engine: docker.DockerClient, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServiceProcess]:
    """A service with two warm sandboxes; everything is gone when it has stopped."""
    directory = tmp_path_factory.mktemp("pooled")
    process = ServiceProcess(directory, SANDBOX_POOL_SIZE="2", SANDBOX_POOL_MAX="2")
    with process:
        yield process
    assert containers_of(engine, process.instance) == []


@pytest.fixture
async def warm_api(pooled: ServiceProcess) -> AsyncIterator[httpx.AsyncClient]:
    """A client, once the pool is full."""
    async with pooled.client(pooled.full_key) as client:
        await until_ready(client, 2)
        yield client


async def metric(client: httpx.AsyncClient, name: str) -> float:
    text = (await client.get("/metrics")).text
    found = re.search(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE)
    return float(found.group(1)) if found else 0.0


async def until_ready(client: httpx.AsyncClient, count: int) -> None:
    deadline = time.monotonic() + 120
    while await metric(client, 'sandbox_pool_ready{template="python"}') < count:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.1)


def living(engine: docker.DockerClient, place: ServiceProcess) -> list[Container]:
    label = {"label": f"sandbox-service.instance={place.instance}"}
    found: list[Container] = engine.containers.list(filters=label, ignore_removed=True)
    return found


async def printed(client: httpx.AsyncClient, code: str) -> str:
    """What the first cell of a new session prints."""
    answer = await client.post("/v1/executions", json={"code": code, "close_session": True})
    execution = answer.json()["execution"]
    assert execution["status"] == "ok", execution
    return str(execution["outputs"][0]["text"])


async def test_a_first_cell_finds_no_trace_of_warming(warm_api: httpx.AsyncClient) -> None:
    assert await printed(warm_api, TRACES) == "[] 2 {} [] []\n"


async def test_sessions_draw_different_random_numbers(warm_api: httpx.AsyncClient) -> None:
    draws = await asyncio.gather(*(printed(warm_api, DRAWS) for _ in range(2)))
    first, second = (draw.split() for draw in draws)
    assert all(a != b for a, b in zip(first, second, strict=True))


async def test_a_hit_is_counted_and_refilled(warm_api: httpx.AsyncClient) -> None:
    hits = await metric(warm_api, 'sandbox_pool_claims_total{result="hit"}')
    await printed(warm_api, "print(1)")
    assert await metric(warm_api, 'sandbox_pool_claims_total{result="hit"}') == hits + 1
    await until_ready(warm_api, 2)


async def test_more_sessions_than_warm_sandboxes_are_served_cold(
    warm_api: httpx.AsyncClient,
) -> None:
    misses = await metric(warm_api, 'sandbox_pool_claims_total{result="miss"}')
    outputs = await asyncio.gather(*(printed(warm_api, "print(1)") for _ in range(4)))
    assert outputs == ["1\n"] * 4
    assert await metric(warm_api, 'sandbox_pool_claims_total{result="miss"}') >= misses + 1


async def test_other_limits_are_applied_to_a_warm_sandbox(
    warm_api: httpx.AsyncClient, engine: docker.DockerClient, pooled: ServiceProcess
) -> None:
    hits = await metric(warm_api, 'sandbox_pool_claims_total{result="hit"}')
    body = {"limits": {"memory_bytes": 700 * 2**20, "cpus": 0.5}}
    session = (await warm_api.post("/v1/sessions", json=body)).json()
    memory = {one.attrs["HostConfig"]["Memory"] for one in living(engine, pooled)}
    assert 700 * 2**20 in memory
    assert await metric(warm_api, 'sandbox_pool_claims_total{result="hit"}') == hits + 1
    await warm_api.delete(f"/v1/sessions/{session['id']}")


async def test_a_limit_above_what_the_engine_has_is_refused_by_name_and_stops_no_warm_sandbox(
    warm_api: httpx.AsyncClient, engine: docker.DockerClient, pooled: ServiceProcess
) -> None:
    warm = set(containers_of(engine, pooled.instance))
    asked = {"cpus": engine.info()["NCPU"] + 0.5}
    answer = await warm_api.post("/v1/sessions", json={"limits": asked})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "limits.cpus")
    assert answer.json()["error"]["retryable"] is False
    assert set(containers_of(engine, pooled.instance)) == warm


async def test_a_warm_sandbox_that_was_killed_is_not_handed_out(
    warm_api: httpx.AsyncClient, engine: docker.DockerClient, pooled: ServiceProcess
) -> None:
    for container in living(engine, pooled):
        with suppress(APIError):  # it was on its way out
            container.kill()
    assert await printed(warm_api, "print(1)") == "1\n"
    await until_ready(warm_api, 2)
