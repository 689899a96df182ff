"""MCP over HTTP on two service processes: each request of one client comes to another process."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp_types import CallToolResult, TextContent

from tests.support.cluster import Cluster, ClusterSpec
from tests.support.redis_server import RedisServer

PRINTING = """
import time
for count in range(200):
    print('line', count, flush=True)
    time.sleep(0.1)
"""
both_eras = pytest.mark.parametrize("mode", ["auto", "legacy"])


class InTurn(httpx2.AsyncBaseTransport):
    """Sends each tool call to the next process, and all else to one that has not got the last call."""

    def __init__(self, urls: list[str]) -> None:
        self._urls = [httpx2.URL(url) for url in urls]
        self._inner = httpx2.AsyncHTTPTransport()
        self.calls = 0

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        is_call = b"tools/call" in await request.aread()
        self.calls += is_call
        target = self._urls[(self.calls + (0 if is_call else 1)) % len(self._urls)]
        request.url = request.url.copy_with(host=target.host, port=target.port)
        return await self._inner.handle_async_request(request)

    async def aclose(self) -> None:
        await self._inner.aclose()


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.fixture(scope="module")
async def cluster(
    redis: RedisServer, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Cluster]:
    """Two replicas whose sandboxes are plain processes."""
    spec = ClusterSpec(2, "unsafe_local", redis.url)
    async with Cluster(tmp_path_factory.mktemp("mcp"), spec) as cluster:
        yield cluster


@contextlib.asynccontextmanager
async def connected(cluster: Cluster, mode: str) -> AsyncIterator[Client]:
    headers = {"Authorization": f"Bearer {cluster.keys['first']}"}
    urls = [replica.url for replica in cluster.replicas]
    async with httpx2.AsyncClient(headers=headers, timeout=60, transport=InTurn(urls)) as http:
        endpoint = streamable_http_client(f"{urls[0]}/mcp", http_client=http)
        async with Client(endpoint, mode=mode) as client:
            yield client


def text_of(result: CallToolResult) -> str:
    return "\n".join(block.text for block in result.content if isinstance(block, TextContent))


@both_eras
async def test_a_session_goes_on_in_another_process(cluster: Cluster, mode: str) -> None:
    async with connected(cluster, mode) as client:
        first = await client.call_tool("execute_python", {"code": "x = 41"})
        session = {"session_id": first.structured_content["session_id"]}
        second = await client.call_tool("execute_python", {"code": "x + 1", **session})
        third = await client.call_tool("execute_python", {"code": "x + 2", **session})
    assert [text_of(result).split("\n")[0] for result in (second, third)] == ["42", "43"]
    assert third.structured_content["state"] == "kept"


@both_eras
async def test_a_call_is_cancelled_by_a_notification_that_comes_to_another_process(
    cluster: Cluster, mode: str
) -> None:
    told = asyncio.Event()

    async def tell(progress: float, total: float | None, message: str | None) -> None:
        told.set()

    async with connected(cluster, mode) as client:
        first = await client.call_tool("execute_python", {"code": "before = 1"})
        session = {"session_id": first.structured_content["session_id"]}
        arguments: dict[str, Any] = {"code": PRINTING, **session}
        call = client.call_tool("execute_python", arguments, progress_callback=tell)
        running = asyncio.create_task(call)
        await asyncio.wait_for(told.wait(), 60)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        after = await client.call_tool("execute_python", {"code": "before, count", **session})
    before, count = text_of(after).split("\n")[0].strip("()").split(", ")
    assert before == "1"
    assert int(count) < 599
    assert os.listdir(cluster.data_dir / "mcp" / "calls") == []
