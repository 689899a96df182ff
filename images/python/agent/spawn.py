"""Starting the zygote, without importing anything heavy: it must load while the agent does."""

import os
import socket
from dataclasses import dataclass

from agent.settings import Settings


@dataclass(frozen=True, slots=True)
class ZygoteProcess:
    """A running zygote and our end of the line to it."""

    pid: int
    line: socket.socket


def spawn_zygote(settings: Settings) -> ZygoteProcess:
    """Start the zygote in the workspace, with the other end of a packet line to us."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    theirs.set_inheritable(True)
    profile = os.path.join(settings.run_dir, "profile")
    os.makedirs(profile, mode=0o700, exist_ok=True)
    os.chdir(settings.workspace)
    environment = {
        **_without_agent_settings(),
        "SANDBOX_ZYGOTE_FD": str(theirs.fileno()),
        "SANDBOX_ZYGOTE_PROFILE": profile,
    }
    pid = os.posix_spawn(
        settings.kernel_python, [settings.kernel_python, settings.zygote], environment
    )
    theirs.close()
    ours.setblocking(False)
    return ZygoteProcess(pid, ours)


def _without_agent_settings() -> dict[str, str]:
    """User code needs no way to the agent, least of all its token."""
    return {key: value for key, value in os.environ.items() if not key.startswith("SANDBOX_AGENT_")}
