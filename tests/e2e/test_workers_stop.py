"""A service of several processes, as an operator starts it: its settings hold in each of them."""

from collections.abc import AsyncIterator

import httpx
import pytest

from tests.support.cluster import Cluster, ClusterSpec
from tests.support.redis_server import RedisServer


@pytest.fixture
async def cluster(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Cluster]:
    """One service of two processes, whose sandboxes are plain processes."""
    with RedisServer() as redis:
        arguments = ("--workers", "2", "--on-stop", "remove")
        spec = ClusterSpec(1, "unsafe_local", redis.url, arguments=arguments)
        async with Cluster(tmp_path_factory.mktemp("workers"), spec) as cluster:
            yield cluster


async def test_a_stop_that_removes_ends_sessions_and_what_was_kept_is_private(
    cluster: Cluster,
) -> None:
    [service] = cluster.replicas
    headers = {"Authorization": f"Bearer {cluster.keys['first']}"}
    async with httpx.AsyncClient(base_url=service.url, headers=headers, timeout=60) as client:
        body = {"code": "open('a.txt', 'w').write('x')"}
        ran = (await client.post("/v1/executions", json=body)).json()
    assert [artifact["path"] for artifact in ran["execution"]["artifacts"]] == ["a.txt"]
    kept = [cluster.data_dir, *cluster.data_dir.rglob("*")]
    assert [path for path in kept if path.stat().st_mode & 0o077] == []

    assert await service.terminate() == 0
    await service.start()
    async with httpx.AsyncClient(base_url=service.url, headers=headers, timeout=60) as client:
        session = (await client.get(f"/v1/sessions/{ran['session']['id']}")).json()
    assert session["status"] == "closed"
