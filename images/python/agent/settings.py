"""The agent's settings, from its environment."""

import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Settings:
    """`listen` is `unix:///path` or `tcp://host:port`; `token` is required with tcp.

    `is_rehearsed`: the first kernel runs a throw-away cell before it is called idle.
    """

    listen: str
    token: str
    workspace: str
    run_dir: str
    kernel_python: str
    zygote: str
    is_rehearsed: bool

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "Settings":
        """Read `SANDBOX_AGENT_*`. Raises SystemExit with a sentence for what cannot work."""
        listen = environment.get("SANDBOX_AGENT_LISTEN", "unix:///run/agent/agent.sock")
        token = environment.get("SANDBOX_AGENT_TOKEN", "")
        if not listen.startswith(("unix://", "tcp://")):
            raise SystemExit("SANDBOX_AGENT_LISTEN must be unix:///path or tcp://host:port")
        if listen.startswith("tcp://") and not token:
            raise SystemExit("SANDBOX_AGENT_LISTEN=tcp://... needs SANDBOX_AGENT_TOKEN")
        here = os.path.dirname(os.path.abspath(__file__))
        return cls(
            listen=listen,
            token=token,
            workspace=environment.get("SANDBOX_AGENT_WORKSPACE", "/mnt/data"),
            run_dir=environment.get("SANDBOX_AGENT_RUN_DIR") or tempfile.mkdtemp(prefix="agent-"),
            kernel_python=environment.get("SANDBOX_AGENT_KERNEL_PYTHON", "/opt/kernel/bin/python"),
            zygote=os.path.join(os.path.dirname(here), "zygote"),
            is_rehearsed=environment.get("SANDBOX_AGENT_REHEARSE") == "1",
        )
