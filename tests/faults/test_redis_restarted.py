"""Redis is killed and comes back while cells run: the longer ways of being away are `make faults`."""

import asyncio

import pytest

from tests.faults.cells import counting, expected_lines, lines_of
from tests.faults.scene import open_scene
from tests.support.cluster import ClusterSpec


@pytest.mark.fault(
    "Redis killed with `kill -9` in the middle of a cell (local sandboxes), and restarted after 1 s",
    "the cell ends as it should, every line once; new work is refused at once meanwhile; recovery by itself",
)
async def test_a_cell_goes_on_without_redis(redis, tmp_path, seen):
    spec = ClusterSpec(backend="unsafe_local", redis_url=redis.url)
    async with open_scene(tmp_path, spec) as scene:
        session_id = await scene.first.opened()
        streaming = asyncio.create_task(scene.first.stream(session_id, counting(20, 0.2)))
        await asyncio.sleep(1)
        redis.kill()
        refused = [await scene.first.open() for _ in range(5)]
        await asyncio.sleep(1)
        redis.start()
        assert {(call.status, call.error_code) for call in refused} == {(503, "store_unavailable")}
        seen(f"refused within {max(call.took_s for call in refused) * 1000:.0f} ms")
        final = await scene.first.follow_to_end(await streaming, 60)
        assert (final["status"], lines_of(final)) == ("ok", expected_lines(20))
        await scene.check()
