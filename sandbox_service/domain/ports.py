"""The seams between the rooms: Protocols with six methods at most, each with one contract suite."""

from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, Protocol

from sandbox_service.domain.values import (
    ArtifactRecord,
    Capacity,
    FileEntry,
    Limits,
    SandboxRef,
    SandboxReport,
    SandboxSpec,
    Template,
)


class Clock(Protocol):
    """Time, so that tests can move it."""

    def now(self) -> datetime:
        """The wall clock, timezone-aware UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds that never go back."""
        ...

    async def sleep(self, seconds: float) -> None: ...


# --- the line to one agent -------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class KernelMessage:
    """A Jupyter message of one execution, as the kernel sent it. `seq` numbers the agent's lines."""

    seq: int
    channel: Literal["iopub", "shell"]
    msg_type: str
    content: dict[str, Any]
    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class MessageGap:
    """Messages that the agent did not pass on; `reason` is budget, ring, message_too_large or unreadable."""

    seq: int
    reason: str
    messages: int
    size_bytes: int
    msg_type: str = ""


@dataclass(frozen=True, slots=True)
class ChangedFile:
    """A workspace file that an execution created or changed."""

    path: str
    size: int


@dataclass(frozen=True, slots=True)
class ExecutionEnd:
    """The agent's last line: reply and idle have come, or the kernel died.

    `incarnation` counts the kernels of this sandbox from 1. It is the kernel that will run the next cell.
    `changes_truncated` says that more files changed than the agent lists.
    """

    seq: int
    reason: Literal["finished", "kernel_died"]
    incarnation: int
    exit_signal: int | None = None
    exit_code: int | None = None
    changed: tuple[ChangedFile, ...] = ()
    changes_truncated: bool = False


ExecutionLine = KernelMessage | MessageGap | ExecutionEnd


@dataclass(frozen=True, slots=True)
class ExecuteRequest:
    """`output_bytes` bounds what the agent passes on of this execution's messages."""

    execution_id: str
    code: str
    output_bytes: int


@dataclass(frozen=True, slots=True)
class KernelHealth:
    state: Literal["starting", "idle", "busy", "dead"]
    incarnation: int


class KernelConnection(Protocol):
    """The kernel of one sandbox, as Jupyter messages.

    Every method raises SandboxLost when the line breaks and AgentViolation on anything malformed.
    """

    def execute(self, request: ExecuteRequest) -> AsyncGenerator[ExecutionLine, None]:
        """Start the code (at most once per execution id) and yield its lines up to ExecutionEnd."""
        ...

    def resume(self, execution_id: str, after_seq: int) -> AsyncGenerator[ExecutionLine, None]:
        """Yield the lines after `after_seq` of an execution. Raises NotFound for an unknown one."""
        ...

    async def health(self, wait_s: float = 0.0) -> KernelHealth:
        """The kernel's state; waits up to `wait_s` for it to be idle."""
        ...

    async def interrupt(self, execution_id: str) -> None:
        """Send SIGINT to the kernel and the processes of its group, if that execution still runs."""
        ...

    async def restart(self, incarnation: int, execution_id: str | None = None) -> int:
        """Kill kernel number `incarnation` and fork a fresh one, if it is still the current one.

        With an `execution_id` only while that execution runs.
        Returns the current incarnation once that kernel answers.
        """
        ...


class WorkspaceFiles(Protocol):
    """Files under /mnt/data. Paths are relative and clean (see files/paths.py).

    Raises NotFound, InvalidRequest (a directory where a file must be), WorkspaceFull, SandboxLost.
    """

    async def list(self, prefix: str = "") -> Sequence[FileEntry]:
        """All entries below `prefix`, sorted by path; at most 10,000."""
        ...

    def read(self, path: str) -> AbstractAsyncContextManager["FileStream"]:
        """Open a regular file for streaming. Never follows a symbolic link."""
        ...

    async def write(self, path: str, chunks: AsyncIterator[bytes]) -> FileEntry:
        """Replace or create the file with what `chunks` yield, all or nothing; makes parent directories."""
        ...

    async def delete(self, path: str) -> None:
        """Remove a file, or a directory with all that is in it."""
        ...

    def archive(self) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """The workspace as a tar stream."""
        ...


@dataclass(frozen=True, slots=True)
class FileStream:
    """An open file: its size as the agent claims it, and its bytes."""

    size: int
    chunks: AsyncIterator[bytes]


class Sandbox(Protocol):
    """An open line to one agent."""

    @property
    def kernel(self) -> KernelConnection: ...

    @property
    def files(self) -> WorkspaceFiles: ...

    async def resources(self) -> dict[str, float]:
        """What the agent says the sandbox uses: memory_bytes, cpu_s, pids, workspace_bytes."""
        ...

    async def close(self) -> None:
        """Close the line; the sandbox itself goes on."""
        ...


class SandboxBackend(Protocol):
    """Starts and stops sandboxes. Raises EngineUnavailable when the engine does not answer in time."""

    def start(self, spec: SandboxSpec) -> AsyncGenerator[SandboxRef, None]:
        """Yield a reference after every step that made something; the last one is up and answers.

        A caller that stops half way passes the latest reference to `stop`.
        Raises SandboxStartFailed, RuntimeUnavailable, EngineUnavailable.
        """
        ...

    async def connect(self, ref: SandboxRef) -> Sandbox:
        """Open a line to a started sandbox. Raises SandboxLost."""
        ...

    async def find(self) -> Sequence[SandboxRef]:
        """Every sandbox of this service instance that the engine knows, running or not, by label."""
        ...

    async def stop(self, ref: SandboxRef) -> None:
        """Remove the sandbox and everything made for it. Idempotent; safe after any checkpoint."""
        ...

    async def report(self, ref: SandboxRef) -> SandboxReport:
        """What the engine says of the sandbox now."""
        ...

    async def resize(self, ref: SandboxRef, limits: Limits) -> bool:
        """Apply memory, cpus and pids to a running sandbox; False when the engine cannot."""
        ...


class SandboxHost(Protocol):
    """What can be asked of a backend's engine. Every backend is one."""

    async def capacity(self, template: Template) -> Capacity | None:
        """What a sandbox of this template can have; None where nothing is limited. Raises EngineUnavailable."""
        ...

    def can_resize(self, template: Template) -> bool:
        """Whether sandboxes of this template can get other limits while they run."""
        ...


class SandboxLabeller(Protocol):
    """Labels for sandboxes that run already. Every backend is one."""

    async def label(self, ref: SandboxRef, labels: Mapping[str, str]) -> None:
        """Have `find` give these labels, besides those of the start, until the sandbox is stopped.

        They are kept on the host, out of the sandbox's reach, and outlive the service.
        """
        ...


class SandboxMeter(Protocol):
    """Counts what sandboxes use. Every backend is one."""

    @property
    def counts_cpu(self) -> bool:
        """False where nobody counts."""
        ...

    async def cpu_s(self, ref: SandboxRef) -> float | None:
        """CPU seconds of all processes that the sandbox has had; None when there is no count now.

        Raises EngineUnavailable.
        """
        ...


class NoMeter:
    """Nobody counts."""

    counts_cpu = False

    async def cpu_s(self, ref: SandboxRef) -> float | None:
        return None


class BlobStore(Protocol):
    """Bytes kept outside the sandboxes."""

    async def put(self, key: str, chunks: AsyncIterator[bytes], max_bytes: int) -> "Blob":
        """Store what `chunks` yield under `key`, all or nothing. Raises TooLarge above `max_bytes`."""
        ...

    def open(self, key: str, first: int = 0) -> AbstractAsyncContextManager["FileStream"]:
        """The bytes from number `first` on, and how many those are. Raises NotFound."""
        ...

    async def delete(self, key: str) -> None:
        """Idempotent."""
        ...


@dataclass(frozen=True, slots=True)
class Blob:
    key: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class FileCounts:
    """How many artifacts there are."""

    of_tenant: int
    of_session: int


class ArtifactCatalog(Protocol):
    """Which artifacts exist; survives a restart of the service."""

    async def add(self, records: Sequence[ArtifactRecord], most_files: int | None = None) -> None:
        """Keep all of them or none, durably.

        Raises RateLimited `quota_stored_files` when their tenant would have more than `most_files`.
        """
        ...

    async def get(self, artifact_id: str) -> ArtifactRecord | None: ...

    async def due(self, before: datetime, limit: int) -> Sequence[ArtifactRecord]:
        """Artifacts whose retention ended before `before`."""
        ...

    async def delete(self, artifact_ids: Sequence[str]) -> frozenset[str]:
        """Forget the artifacts; returns those that were known."""
        ...

    async def sizes(self) -> Mapping[str, int]:
        """Bytes stored by tenant, without reading every record."""
        ...

    async def counts(self, tenant: str, session_id: str) -> FileCounts:
        """How many there are of the tenant and of the session, likewise."""
        ...
