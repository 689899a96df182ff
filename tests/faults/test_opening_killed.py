"""The process is killed between the steps of an opening: nothing stays, and the same key opens one session."""

import pytest

from tests.faults.engine_proxy import EngineProxy
from tests.faults.openings import STEPS, kill_while_opening
from tests.faults.scene import open_scene
from tests.support.cluster import ClusterSpec

pytestmark = pytest.mark.docker


@pytest.mark.fault(
    "`kill -9` of the only process (memory store) at each step of an opening: record written, container made "
    "and not yet known, container created, agent ready",
    "nothing of it stays after the restart; the same Idempotency-Key opens one session, with one container",
)
async def test_an_opening_that_was_cut_leaves_nothing(engine, tmp_path, short_dir, seen):
    async with (
        EngineProxy(short_dir / "engine.sock") as proxy,
        open_scene(tmp_path, ClusterSpec(docker_url=proxy.url)) as scene,
    ):
        for number, step in enumerate(STEPS):
            await kill_while_opening(scene, proxy, step, key=f"step-{number}")
            await scene.cluster.replicas[0].start()
            assert await scene.settle() == []
            assert len(await scene.reality.sandboxes()) == number
            await scene.first.opened(key=f"step-{number}")
        assert len(await scene.reality.sandboxes()) == len(STEPS)
        await scene.check()
        seen(f"{len(STEPS)} of {len(STEPS)} steps")
