"""The steps of an opening, each held so that the process can be killed right there."""

import asyncio
from dataclasses import dataclass

import httpx

from tests.faults.engine_proxy import EngineProxy, Part
from tests.faults.scene import Scene

CREATE = r"^POST .*/containers/create"
START = r"^POST .*/containers/[0-9a-f]+/start"
UPDATE = r"^POST .*/containers/[0-9a-f]+/update"
AGENT_DEADLINE_S = 30.0


@dataclass(frozen=True, slots=True)
class Step:
    """A moment of an opening: which call of the engine is held, and on which side of it."""

    name: str
    pattern: str
    part: Part
    waits_for_agent: bool = False


STEPS = (
    Step("the record is written, nothing else", CREATE, "request"),
    Step("the engine makes the container, nobody hears of it", CREATE, "answer"),
    Step("the container is created", START, "request"),
    Step("the agent is ready, nobody has heard of it", START, "answer", waits_for_agent=True),
)


async def agent_is_idle(scene: Scene) -> None:
    """Returns when the only sandbox's agent has an idle kernel."""
    async with asyncio.timeout(AGENT_DEADLINE_S):
        while not await _asked(scene):
            await asyncio.sleep(0.05)


async def _asked(scene: Scene) -> bool:
    root = scene.cluster.runtime_dir / scene.cluster.instance
    for socket in root.glob("*/agent.sock"):
        transport = httpx.AsyncHTTPTransport(uds=str(socket))
        try:
            async with httpx.AsyncClient(transport=transport, timeout=15) as client:
                answer = await client.get("http://agent/v1/health?wait_s=10")
                return bool(answer.json()["kernel"]["state"] == "idle")
        except httpx.HTTPError:
            continue
    return False


async def kill_while_opening(scene: Scene, proxy: EngineProxy, step: Step, key: str) -> None:
    """Kill the first replica when its opening has come to `step`; what it had asked for is dropped."""
    replica = scene.cluster.replicas[0]
    hold = proxy.hold(step.pattern, step.part, times=1)
    opening = asyncio.create_task(scene.first.open(replica=replica, key=key))
    await hold.reached()
    if step.waits_for_agent:
        await agent_is_idle(scene)
    replica.kill()
    hold.release()
    assert (await opening).status is None
