"""What sessions, sandboxes, executions and files are made of: frozen, serialisable values.

Units are in the names: `_bytes`, `_s` (seconds). Times are timezone-aware UTC datetimes.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

MIB = 1024 * 1024

MAX_OUTPUT_BYTES = 64 * MIB
"""The most output that an execution may be allowed; the agent is told each one's and keeps as much."""


class Value(BaseModel):
    """A frozen value that refuses unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Limits(Value):
    """What one sandbox may use."""

    memory_bytes: int = 1024 * MIB
    cpus: float = 1.0
    pids: int = 256
    workspace_bytes: int = 512 * MIB
    execution_timeout_s: float = 120.0
    output_bytes: int = 8 * MIB


class LimitsRequest(Value):
    """The limits a caller asks for; what is left out comes from the template."""

    memory_bytes: int | None = None
    cpus: float | None = None
    pids: int | None = None
    workspace_bytes: int | None = None
    execution_timeout_s: float | None = None
    output_bytes: int | None = None


class Capacity(Value):
    """What an engine can give one sandbox: no more of anything, nor fewer CPUs than a start takes."""

    cpus: float
    memory_bytes: int
    least_cpus: float = 0.0


class Template(Value):
    """An image and the limits that sandboxes are made with from it."""

    name: str = "python"
    image: str = "sandbox-python:latest"
    runtime: str = "runc"
    limits: Limits = Limits()
    minimum: Limits = Limits(
        memory_bytes=256 * MIB,
        cpus=0.1,
        pids=32,
        workspace_bytes=1 * MIB,
        execution_timeout_s=1.0,
        output_bytes=1024,
    )
    maximum: Limits = Limits(
        memory_bytes=8192 * MIB,
        cpus=8.0,
        pids=2048,
        workspace_bytes=4096 * MIB,
        execution_timeout_s=3600.0,
        output_bytes=MAX_OUTPUT_BYTES,
    )

    @model_validator(mode="after")
    def _bound_output(self) -> Self:
        if max(self.limits.output_bytes, self.maximum.output_bytes) > MAX_OUTPUT_BYTES:
            raise ValueError(f"output_bytes can be at most {MAX_OUTPUT_BYTES}")
        return self


PURPOSE = "purpose"
"""Label of a sandbox that belongs to no session and lives for a moment only; says what it is for."""


class SandboxSpec(Value):
    """What a backend needs to start one sandbox. The labels are enough to rebuild the session's record.

    `is_background` asks for a low CPU weight until the sandbox is up, so that running ones are not starved;
    `is_rehearsed` for a throw-away cell in the kernel, which makes the first real one quicker.
    """

    sandbox_id: str
    template: Template
    limits: Limits
    labels: dict[str, str] = Field(default_factory=dict)
    is_background: bool = False
    is_rehearsed: bool = False


class SandboxRef(Value):
    """Where a sandbox is: enough to connect to it, to stop it and to ask the engine about it.

    `engine_id` is empty until the engine has made something; `address` is the path of the
    agent's unix socket or `host:port`. `is_running` is False for one that was found exited.
    """

    sandbox_id: str
    engine_id: str = ""
    address: str = ""
    uid: int | None = None
    labels: dict[str, str] = Field(default_factory=dict)
    is_running: bool = True


class SandboxState(StrEnum):
    RUNNING = "running"
    EXITED = "exited"
    MISSING = "missing"


class SandboxReport(Value):
    """What the engine, not the agent, says of a sandbox.

    `is_counted_at_once`: a kill is among the `oom_kills` before anybody can see its victim gone.
    """

    state: SandboxState
    exit_code: int | None = None
    oom_kills: int = 0
    is_counted_at_once: bool = False


class SessionStatus(StrEnum):
    STARTING = "starting"
    READY = "ready"
    CLOSED = "closed"
    EXPIRED = "expired"
    LOST = "lost"


LIVE_STATUSES = frozenset({SessionStatus.STARTING, SessionStatus.READY})


class SessionRecord(Value):
    """A caller's stateful workspace, as the store keeps it.

    `epoch` rises whenever kernel state was lost; `last_run_epoch` is the epoch at which the latest
    execution started, so that the next one can say whether anything was lost in between.
    `starting` is a sandbox that is being made for it. `incarnation` is the number of the sandbox's
    kernel that was seen last. `opening` names the one attempt that made the record, `opener` is the replica
    that opens the session. `is_closing`: it ends as soon as nothing waits or runs. `revision` rises with every
    write; the store refuses a write based on an old one. `pending` counts the executions that wait or run;
    only the store sets it, on reading.
    """

    id: str
    tenant: str
    status: SessionStatus
    template: str
    runtime: str
    created_at: datetime
    last_active_at: datetime
    idle_ttl_s: float
    max_age_s: float
    expires_at: datetime
    ended_at: datetime | None = None
    limits: Limits
    epoch: int = 1
    last_run_epoch: int | None = None
    incarnation: int = 1
    opening: str = ""
    opener: str = ""
    metadata: dict[str, str] = Field(default_factory=dict)
    sandbox: SandboxRef | None = None
    starting: SandboxRef | None = None
    is_closing: bool = False
    revision: int = 0
    pending: int = 0

    @property
    def sandboxes(self) -> tuple[SandboxRef, ...]:
        """Every sandbox that was made for it and not yet stopped."""
        return tuple(ref for ref in (self.sandbox, self.starting) if ref is not None)


class ExecutionStatus(StrEnum):
    """`queued` and `running` are on the way; the rest are final. `lost` means that *we* failed."""

    QUEUED = "queued"
    RUNNING = "running"
    OK = "ok"
    ERROR = "error"
    TIMEOUT = "timeout"
    INTERRUPTED = "interrupted"
    OUT_OF_MEMORY = "out_of_memory"
    KERNEL_DIED = "kernel_died"
    LOST = "lost"

    @property
    def is_final(self) -> bool:
        return self not in (ExecutionStatus.QUEUED, ExecutionStatus.RUNNING)


class KernelStamp(Value):
    """Which kernel state an execution ran on; `reset` when variables were lost before or during it."""

    epoch: int
    state: Literal["kept", "reset"]


Output = dict[str, Any]
"""An nbformat v4 output node: `output_type` is stream, display_data, execute_result or error.

In a mime bundle `data` holds text and RawJson, by type; `metadata` is RawJson, or `{}`.
"""


class ArtifactRecord(Value):
    """A file that an execution made or changed, stored outside the sandbox until `expires_at`."""

    id: str
    tenant: str
    session_id: str
    execution_id: str
    path: str
    size: int
    media_type: str
    sha256: str
    created_at: datetime
    expires_at: datetime


class ExecutionTerms(Value):
    """What an execution was accepted with: its bounds, the caller for whom it is written down, and what that asked for.

    `close_session`: its session ends with it. `cancel_on_disconnect`: it is interrupted when nobody waits for it.
    """

    timeout_s: float = 120.0
    output_bytes: int = 8 * MIB
    cpus: float = 1.0
    key_id: str = ""
    address: str = ""
    close_session: bool = False
    cancel_on_disconnect: bool = False


class ExecutionRecord(Value):
    """One run of one cell. `started_at` is None while queued, `duration_s` None until finished."""

    id: str
    session_id: str
    tenant: str
    status: ExecutionStatus
    created_at: datetime
    code: str = Field(repr=False)
    terms: ExecutionTerms = ExecutionTerms()
    execution_count: int | None = None
    outputs: list[Output] = Field(default_factory=list, repr=False)
    artifacts: list[ArtifactRecord] = Field(default_factory=list)
    truncated: bool = False
    notices: list[str] = Field(default_factory=list)
    started_at: datetime | None = None
    duration_s: float | None = None
    kernel: KernelStamp
    session_expires_at: datetime


EventType = Literal["execution.started", "output", "artifact", "gap", "execution.completed"]


@dataclass(frozen=True, slots=True)
class ExecutionEvent:
    """One numbered event of an execution; ids rise by one from 1.

    `payload` of execution.started and execution.completed is the record as it was then, of artifact
    the artifact. Of an output it is `{"action": "append"|"extend"|"replace"|"clear", "index": int,
    "output": {...}}`: *append* adds a node at `index`, *extend* joins the node's stream text to the
    one at `index`, *replace* puts another node at `index`, *clear* empties the list. A gap stands for
    events that are no longer kept, `{"from_id": int, "to_id": int, "reason": str}`; its id is `to_id`.
    """

    id: int
    type: EventType
    payload: dict[str, Any] | ArtifactRecord | ExecutionRecord


class FileEntry(Value):
    """A file or directory of a workspace. `path` is relative, with surrogate escapes for bytes that are not UTF-8."""

    path: str
    type: Literal["file", "directory"]
    size: int
    modified_at: datetime
