"""Waiting for a fresh sandbox: its socket first, then a kernel that is idle."""

import asyncio
from collections.abc import Callable
from pathlib import Path

from sandbox_service.backends import control_directory
from sandbox_service.backends.agent_line import AgentLine
from sandbox_service.domain.errors import SandboxLost

STEP_S = 0.005
HEALTH_WAIT_S = 2.0

RequireAlive = Callable[[], None]


async def await_socket(directory: Path, require_alive: RequireAlive) -> None:
    """Return when the agent has made its socket; `require_alive` raises when it never will."""
    while not control_directory.has_entry(directory):
        require_alive()
        await asyncio.sleep(STEP_S)


async def await_idle(address: str, require_alive: RequireAlive) -> None:
    """Return when the agent answers and its kernel is idle."""
    line = AgentLine.over_unix(address)
    try:
        while not await _is_idle(line):
            require_alive()
            await asyncio.sleep(STEP_S)
    finally:
        await line.close()


async def _is_idle(line: AgentLine) -> bool:
    try:
        health = await line.kernel.health(HEALTH_WAIT_S)
    except SandboxLost:  # bound, but not listening yet
        return False
    return health.state == "idle"
