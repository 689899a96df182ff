"""One agent for most tests: a kernel costs little, a zygote a second."""

import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.contract.agent.agent_process import AgentProcess, running_agent


@pytest.fixture(scope="session")
async def shared_agent() -> AsyncIterator[AgentProcess]:
    with tempfile.TemporaryDirectory(prefix="agent-") as root:
        async with running_agent(Path(root)) as agent:
            yield agent


@pytest.fixture
async def agent(shared_agent: AgentProcess) -> AgentProcess:
    """An agent whose kernel is idle."""
    assert (await shared_agent.kernel())["state"] == "idle"
    return shared_agent


@pytest.fixture
async def own_agent() -> AsyncIterator[AgentProcess]:
    """An agent that the test may break."""
    with tempfile.TemporaryDirectory(prefix="agent-") as root:
        async with running_agent(Path(root)) as agent:
            yield agent
