"""The same faults with sandboxes under gVisor; `make faults` only."""

import json

import pytest

from tests.faults.killing import MUST
from tests.faults.scene import open_scene
from tests.faults.test_process_killed import is_taken_over, outlives_the_only_process
from tests.faults.test_sandbox_broken import FILLS_MEMORY, is_killed, is_paused
from tests.support.cluster import ClusterSpec

pytestmark = [pytest.mark.docker, pytest.mark.timeout(600), pytest.mark.usefixtures("gvisor")]
GVISOR = {"SANDBOX_TEMPLATE": json.dumps({"runtime": "runsc"})}


@pytest.mark.fault(
    "gVisor: `kill -9` of the only process in the middle of a cell (memory store), then a restart",
    f"the restarted process {MUST}",
)
async def test_a_cell_outlives_the_only_process(tmp_path, seen):
    await outlives_the_only_process(ClusterSpec(environment=GVISOR), tmp_path, seen)


@pytest.mark.fault(
    "gVisor: `kill -9` of the replica that runs a cell (Redis), not restarted",
    f"the other replica {MUST}",
)
async def test_a_cell_is_taken_over_by_the_other_replica(redis, tmp_path, seen):
    spec = ClusterSpec(replicas=2, redis_url=redis.url, environment=GVISOR)
    await is_taken_over(spec, tmp_path, seen)


@pytest.mark.fault(
    "gVisor: a container is killed in the middle of a cell (`docker kill`)",
    "the execution ends as lost with what it had printed, the session answers 410, another one goes on",
)
async def test_a_killed_container_ends_its_session_with_a_word(tmp_path, seen):
    await is_killed(ClusterSpec(environment=GVISOR), tmp_path, seen)


@pytest.mark.fault(
    "gVisor: a container is paused for 10 s in the middle of a cell",
    "the cell goes on afterwards, every line once; another session does not notice",
)
async def test_a_paused_container_goes_on(tmp_path):
    await is_paused(ClusterSpec(environment=GVISOR), tmp_path)


@pytest.mark.fault(
    "gVisor: a cell takes more memory than its sandbox has",
    "`out_of_memory` is its result; the session goes on in a fresh sandbox, said so; nothing of the old one stays",
)
async def test_memory_that_runs_out_is_the_cells_result(tmp_path, seen):
    async with open_scene(tmp_path, ClusterSpec(environment=GVISOR)) as scene:
        session_id = await scene.first.opened()
        died = await scene.first.ran(session_id, FILLS_MEMORY, timeout_s=100)
        after = await scene.first.run(session_id, "print('well')")
        seen(f"{died['status']}; then {after.status} {after.error_code}".strip())
        assert died["status"] == "out_of_memory"
        assert after.is_ok, after
        await scene.check()
