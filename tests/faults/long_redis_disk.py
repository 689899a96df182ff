"""The disk of Redis has no room; `make faults` only."""

import time

import pytest

from tests.faults.cells import counting, expected_lines, lines_of
from tests.faults.long_redis import started
from tests.faults.scene import open_scene
from tests.faults.small_disk import fill, small_disk
from tests.support.cluster import ClusterSpec
from tests.support.redis_server import RedisServer

pytestmark = [pytest.mark.docker, pytest.mark.timeout(600)]
NO_ROOM_S = 10.0
RECOVERY_S = 30.0


@pytest.mark.fault(
    f"The disk of Redis is full for {NO_ROOM_S:g} s: it takes no writes, under running cells on two replicas",
    "cells go on, every line once; new work gets 503 with Retry-After; with room again recovery by itself, and a "
    "Redis killed then comes back with everything",
)
async def test_the_disk_of_redis_is_full(engine, tmp_path, seen):
    with small_disk(tmp_path / "disk"), RedisServer(tmp_path / "disk") as redis:
        async with open_scene(tmp_path, ClusterSpec(replicas=2, redis_url=redis.url)) as scene:
            readings = [await started(scene, counting(60, 0.5)) for _ in range(2)]
            filler = fill(tmp_path / "disk")
            refused, until = [], time.monotonic() + NO_ROOM_S
            while time.monotonic() < until:
                refused.append(await scene.first.open())
            filler.unlink()
            back_at = time.monotonic()
            await scene.first.opened(deadline_s=RECOVERY_S)
            last = [call for call in refused if call.status != 201]
            seen(
                f"{len(last)} of {len(refused)} opens refused; a new session "
                f"{time.monotonic() - back_at:.1f} s after there was room"
            )
            assert {(call.status, call.error_code) for call in last} == {(503, "store_unavailable")}
            assert all(call.retry_after for call in last)
            finals = [await scene.first.follow_to_end(reading, 90) for reading in readings]
            assert [lines_of(final) for final in finals] == [expected_lines(60)] * 2
            redis.restart()
            await scene.first.opened(deadline_s=RECOVERY_S)
            await scene.check()
