"""The running side of the sessions that this process serves: line, queue, worker."""

import asyncio
from dataclasses import dataclass, field

from sandbox_service.domain.ports import Sandbox
from sandbox_service.domain.values import SandboxRef
from sandbox_service.sessions.journal import Journal


@dataclass(slots=True)
class QueuedExecution:
    """An execution that was accepted; `timeout_s` runs from its start.

    `was_killed` says that we killed its kernel: at the deadline, or for a restart.
    """

    journal: Journal
    timeout_s: float
    output_bytes: int
    is_cancelled: bool = False
    was_interrupted: bool = False
    was_killed: bool = False


@dataclass(slots=True)
class LiveSession:
    """One session with an open line to its sandbox.

    `incarnation` is the number of the kernel that ran last; `files_in_use` counts calls that move files.
    """

    session_id: str
    tenant: str
    ref: SandboxRef
    sandbox: Sandbox
    incarnation: int = 1
    queue: asyncio.Queue[QueuedExecution] = field(default_factory=asyncio.Queue)
    current: QueuedExecution | None = None
    files_in_use: int = 0
    oom_kills: int = 0
    worker: asyncio.Task[None] | None = None

    @property
    def is_busy(self) -> bool:
        return self.current is not None or not self.queue.empty() or self.files_in_use > 0

    @property
    def kernel_state(self) -> str:
        return "idle" if self.current is None else "busy"
