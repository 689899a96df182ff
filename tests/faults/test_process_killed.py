"""The service process is killed while code runs: the code goes on, and its caller misses nothing."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.killing import (
    MUST,
    RECOVERY_S,
    strike_in_mid_cell,
    taken_up_again,
    variables_are_there,
)
from tests.faults.scene import open_scene
from tests.support.cluster import ClusterSpec

pytestmark = pytest.mark.docker
Seen = Callable[[str], None]


@pytest.mark.fault(
    "`kill -9` of the only process in the middle of a cell (memory store), then a restart",
    f"the restarted process {MUST}",
)
async def test_a_cell_outlives_the_only_process(engine, tmp_path, seen):
    await outlives_the_only_process(ClusterSpec(), tmp_path, seen)


async def outlives_the_only_process(spec: ClusterSpec, tmp_path: Path, seen: Seen) -> None:
    async with open_scene(tmp_path, spec) as scene:
        struck = await strike_in_mid_cell(scene, 6, scene.cluster.replicas[0])
        await scene.cluster.replicas[0].start()
        silence_s = await taken_up_again(scene, struck)
        seen(f"next line {silence_s:.1f} s after the kill")
        assert silence_s < RECOVERY_S
        await variables_are_there(scene, struck.reading.session_id)
        await scene.check()


@pytest.mark.fault(
    "`kill -9` of the replica that runs a cell (Redis), not restarted", f"the other replica {MUST}"
)
async def test_a_cell_is_taken_over_by_the_other_replica(engine, redis, tmp_path, seen):
    await is_taken_over(ClusterSpec(replicas=2, redis_url=redis.url), tmp_path, seen)


async def is_taken_over(spec: ClusterSpec, tmp_path: Path, seen: Seen) -> None:
    async with open_scene(tmp_path, spec) as scene:
        struck = await strike_in_mid_cell(scene, 9, scene.cluster.replicas[0])
        silence_s = await taken_up_again(scene, struck)
        seen(f"next line {silence_s:.1f} s after the kill")
        assert silence_s < RECOVERY_S
        await variables_are_there(scene, struck.reading.session_id)
        await scene.check()
