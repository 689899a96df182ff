"""Tenants on two service processes over one Redis: each limit, key and event counts once for both."""

import asyncio
import json
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest

from tests.support.cluster import Cluster, ClusterSpec
from tests.support.redis_server import RedisServer

SETTINGS = {
    "SANDBOX_MAX_SESSIONS": "6",
    "SANDBOX_QUOTA_SESSIONS": "1",
    "SANDBOX_QUOTA_EXECUTIONS": "2",
}


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.fixture(scope="module")
async def cluster(redis: RedisServer, tmp_path_factory) -> AsyncIterator[Cluster]:
    """Two replicas whose sandboxes are plain processes."""
    spec = ClusterSpec(2, "unsafe_local", redis.url, environment=SETTINGS)
    async with Cluster(tmp_path_factory.mktemp("tenants"), spec) as cluster:
        yield cluster


@pytest.fixture
async def first(cluster: Cluster) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"Authorization": f"Bearer {cluster.keys['first']}"}
    async with httpx.AsyncClient(headers=headers, timeout=60) as client:
        yield client


def command(cluster: Cluster, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "sandbox_service", *arguments],
        env=cluster.replicas[0].environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def code_of(answer: httpx.Response) -> str:
    return str(answer.json()["error"]["code"]) if answer.is_error else "ok"


async def opened(cluster: Cluster, client: httpx.AsyncClient, count: int) -> list[httpx.Response]:
    """So many sessions opened at once, on the replicas in turn."""
    urls = [replica.url for replica in cluster.replicas]
    calls = [client.post(f"{urls[n % 2]}/v1/sessions", json={}) for n in range(count)]
    return list(await asyncio.gather(*calls))


async def closed(
    cluster: Cluster, client: httpx.AsyncClient, answers: list[httpx.Response]
) -> None:
    for answer in answers:
        if answer.is_success:
            url = f"{cluster.up[-1].url}/v1/sessions/{answer.json()['id']}"
            assert (await client.delete(url)).is_success


async def test_the_sessions_of_a_tenant_are_counted_over_both_replicas(
    cluster: Cluster, first: httpx.AsyncClient
) -> None:
    answers = await opened(cluster, first, 10)
    assert Counter(map(code_of, answers)) == {"ok": 1, "quota_sessions": 9}
    await closed(cluster, first, answers)
    answers = await opened(cluster, first, 1)
    assert Counter(map(code_of, answers)) == {"ok": 1}
    await closed(cluster, first, answers)


async def test_a_key_made_or_revoked_at_the_command_line_counts_on_both_from_the_next_call_on(
    cluster: Cluster,
) -> None:
    made = command(cluster, "keys", "create", "--tenant", "third")
    headers = {"Authorization": f"Bearer {made.stdout.strip()}"}
    async with httpx.AsyncClient(headers=headers) as client:
        urls = [f"{replica.url}/v1/sessions" for replica in cluster.replicas]
        assert [code_of(await client.get(url)) for url in urls] == ["ok", "ok"]
        assert command(cluster, "quotas", "set", "third", "sessions=0").returncode == 0
        answers = [await client.post(url, json={}) for url in urls]
        assert [code_of(answer) for answer in answers] == ["quota_sessions"] * 2
        assert command(cluster, "keys", "revoke", made.stderr.split()[0]).returncode == 0
        assert [code_of(await client.get(url)) for url in urls] == ["key_revoked"] * 2


async def test_a_replica_that_is_killed_takes_no_quota_with_it_and_the_log_still_holds(
    cluster: Cluster, first: httpx.AsyncClient
) -> None:
    answers = await opened(cluster, first, 1)
    cluster.replicas[0].kill()
    url = f"{cluster.up[0].url}/v1/sessions/{answers[0].json()['id']}"
    answer = await first.post(f"{url}/executions", json={"code": "1 + 1"})
    assert answer.json()["status"] == "ok"
    await closed(cluster, first, answers)
    await cluster.replicas[0].start()
    again = await opened(cluster, first, 2)
    assert Counter(map(code_of, again)) == {"ok": 1, "quota_sessions": 1}
    await closed(cluster, first, again)
    verified = command(cluster, "audit", "verify")
    assert verified.returncode == 0, verified.stderr
    told = command(cluster, "audit", "tail", "-n", "all").stdout.splitlines()
    kinds = Counter(json.loads(line)["event"] for line in told)
    assert kinds["execution.finished"] == 1
    assert {path.name for path in (cluster.data_dir / "audit").iterdir() if path.is_dir()} == {
        "writer-2"
    }
