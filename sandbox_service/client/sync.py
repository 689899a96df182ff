"""The client for programs without an event loop: the same calls, each of which waits for its answer.

Made from the asynchronous classes by `python -m tests.support.make_sync`: change those instead.
"""

from collections.abc import Generator, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self, Unpack

import httpx

from sandbox_service.client.bridge import Bridge
from sandbox_service.client.client import SandboxClient
from sandbox_service.client.events import (
    ArtifactMade,
    Event,
    EventsSkipped,
    ExecutionCompleted,
    ExecutionStarted,
    OutputChanged,
)
from sandbox_service.client.results import Artifact, ExecutionResult, FileInfo, SessionInfo
from sandbox_service.client.retries import Retries
from sandbox_service.client.session import Session, SessionOptions
from sandbox_service.client.uploads import Source
from sandbox_service.domain.ports import Clock


@dataclass(frozen=True, slots=True)
class SyncArtifact(Artifact):
    """A file that an execution made or changed. `url` works without a key until it expires."""

    _bridge: Bridge = field(kw_only=True, repr=False, compare=False)

    @classmethod
    def of(cls, bridge: Bridge, value: Artifact) -> Self:
        return cls(
            id=value.id,
            path=value.path,
            size=value.size,
            media_type=value.media_type,
            sha256=value.sha256,
            url=value.url,
            _transport=value._transport,
            _bridge=bridge,
        )

    def read(self) -> bytes:  # type: ignore[override]
        """The whole content, checked against `sha256`."""
        return self._bridge.call(Artifact.read(self))

    def save(self, directory: str | Path) -> Path:  # type: ignore[override]
        """Write the file below `directory` under its own name, all or nothing; returns its path.

        A file of that name is replaced. Raises ProtocolError for a name that leaves `directory`.
        """
        return self._bridge.call(Artifact.save(self, directory))

    def delete(self) -> None:  # type: ignore[override]
        """Remove it from the service; its links open nothing any more."""
        self._bridge.call(Artifact.delete(self))


@dataclass(frozen=True, slots=True)
class SyncExecutionResult(ExecutionResult):
    """A finished execution. `status` is the outcome of the code; `raw` is the whole answer.

    A notebook shows it as its output would be: text, tables, pictures, links to the files.
    """

    artifacts: tuple[SyncArtifact, ...]
    _bridge: Bridge = field(kw_only=True, repr=False, compare=False)

    @classmethod
    def of(cls, bridge: Bridge, value: ExecutionResult) -> Self:
        return cls(
            id=value.id,
            session_id=value.session_id,
            status=value.status,
            execution_count=value.execution_count,
            outputs=value.outputs,
            artifacts=tuple(SyncArtifact.of(bridge, item) for item in value.artifacts),
            truncated=value.truncated,
            notices=value.notices,
            duration_s=value.duration_s,
            epoch=value.epoch,
            state=value.state,
            session_expires_at=value.session_expires_at,
            raw=value.raw,
            _bridge=bridge,
        )

    def save(self, directory: str | Path) -> list[Path]:  # type: ignore[override]
        """Write every artifact and picture below `directory`; returns the paths.

        No file is replaced: a name that is taken gets a number. Names that would leave
        `directory` are changed so that they do not.
        """
        return self._bridge.call(ExecutionResult.save(self, directory))


@dataclass(frozen=True, slots=True)
class SyncArtifactMade(ArtifactMade):
    """A file was made or changed."""

    artifact: SyncArtifact

    @classmethod
    def of(cls, bridge: Bridge, value: ArtifactMade) -> Self:
        return cls(id=value.id, artifact=SyncArtifact.of(bridge, value.artifact))


@dataclass(frozen=True, slots=True)
class SyncExecutionCompleted(ExecutionCompleted):
    """The last event: everything, once more, in its final form."""

    result: SyncExecutionResult

    @classmethod
    def of(cls, bridge: Bridge, value: ExecutionCompleted) -> Self:
        return cls(id=value.id, result=SyncExecutionResult.of(bridge, value.result))


SyncEvent = (
    ExecutionStarted | OutputChanged | SyncArtifactMade | EventsSkipped | SyncExecutionCompleted
)


def sync_event(bridge: Bridge, event: Event) -> SyncEvent:
    """The same event; what it carries can be used without an event loop."""
    match event:
        case ArtifactMade():
            return SyncArtifactMade.of(bridge, event)
        case ExecutionCompleted():
            return SyncExecutionCompleted.of(bridge, event)
    return event


class SyncSession:
    """A stateful workspace with a live kernel. Leaving its `with` block closes it.

    Every method raises ClientError: SessionGone once the session is over.
    """

    def __init__(self, bridge: Bridge, session: Session) -> None:
        self._bridge = bridge
        self._inner = session

    @classmethod
    def of(cls, bridge: Bridge, session: Session) -> Self:
        return cls(bridge, session)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def id(self) -> str:
        return self._inner.id

    def info(self) -> SessionInfo:
        """What the service says of the session now."""
        return self._bridge.call(self._inner.info())

    def update(
        self,
        *,
        idle_ttl_s: float | None = None,
        max_age_s: float | None = None,
        metadata: dict[str, str] | None = None,
    ) -> SessionInfo:
        """Extend or relabel the session; what is None stays as it is."""
        return self._bridge.call(
            self._inner.update(idle_ttl_s=idle_ttl_s, max_age_s=max_age_s, metadata=metadata)
        )

    def extend(
        self, idle_ttl_s: float | None = None, max_age_s: float | None = None
    ) -> SessionInfo:
        """Start the idle time anew, and change how long it is if that is said."""
        return self._bridge.call(self._inner.extend(idle_ttl_s, max_age_s))

    def execute(
        self, code: str, timeout_s: float | None = None, *, idempotency_key: str | None = None
    ) -> SyncExecutionResult:
        """Run `code` and return when it has finished, whatever its outcome.

        The code runs once, however often the connection breaks meanwhile. The same
        `idempotency_key` gives the same execution again; each call makes its own unless given.
        """
        return SyncExecutionResult.of(
            self._bridge,
            self._bridge.call(
                self._inner.execute(code, timeout_s, idempotency_key=idempotency_key)
            ),
        )

    def stream(
        self,
        code: str,
        timeout_s: float | None = None,
        *,
        interrupt_on_leave: bool = False,
        cancel_on_disconnect: bool = False,
        idempotency_key: str | None = None,
    ) -> Generator[SyncEvent]:
        """Run `code` and yield its events as they happen; the last one is ExecutionCompleted.

        A broken connection is made again and the rest asked for: each event comes once. Raises
        StreamBroken when the rest cannot be had. Leaving early lets the code run on, unless
        `interrupt_on_leave` has the client interrupt it. With `cancel_on_disconnect` the service
        does so, whatever ended the connection: also when it broke, or this program died.
        """
        with closing(
            self._bridge.iterate(
                self._inner.stream(
                    code,
                    timeout_s,
                    interrupt_on_leave=interrupt_on_leave,
                    cancel_on_disconnect=cancel_on_disconnect,
                    idempotency_key=idempotency_key,
                )
            )
        ) as items:
            for item in items:
                yield sync_event(self._bridge, item)

    def events(self, execution_id: str, after: int = 0) -> Generator[SyncEvent]:
        """Yield the events of an execution that come after number `after`, live to its end."""
        with closing(self._bridge.iterate(self._inner.events(execution_id, after))) as items:
            for item in items:
                yield sync_event(self._bridge, item)

    def execution(self, execution_id: str) -> SyncExecutionResult:
        """An execution of this session again; `status` may still be queued or running."""
        return SyncExecutionResult.of(
            self._bridge, self._bridge.call(self._inner.execution(execution_id))
        )

    def executions(self, limit: int = 100, after: str | None = None) -> list[SyncExecutionResult]:
        """The session's executions, oldest first, those after the one with id `after`."""
        return [
            SyncExecutionResult.of(self._bridge, item)
            for item in self._bridge.call(self._inner.executions(limit, after))
        ]

    def upload(self, source: Source, name: str | None = None) -> FileInfo:
        """Put a file into the workspace: a local path, bytes, an open binary file, or chunks.

        `name` is the path in the workspace; bytes and chunks need one. Sent again if the
        connection breaks, but for what can be read only once.
        """
        return self._bridge.call(self._inner.upload(source, name))

    def download(self, name: str) -> bytes:
        """The content of a file of the workspace."""
        return self._bridge.call(self._inner.download(name))

    def download_to(self, name: str, path: str | Path) -> Path:
        """Write a file of the workspace to the local `path`, all or nothing."""
        return self._bridge.call(self._inner.download_to(name, path))

    def archive_to(self, path: str | Path) -> Path:
        """Write the whole workspace to the local `path`, as a tar."""
        return self._bridge.call(self._inner.archive_to(path))

    def files(self, prefix: str = "") -> list[FileInfo]:
        """Every file and directory of the workspace, or of its folder `prefix`."""
        return self._bridge.call(self._inner.files(prefix))

    def delete(self, name: str) -> None:
        """Remove a file, or a directory with all that is in it."""
        self._bridge.call(self._inner.delete(name))

    def notebook(self) -> dict[str, Any]:
        """The session so far as a notebook (nbformat v4)."""
        return self._bridge.call(self._inner.notebook())

    def save_notebook(self, path: str | Path) -> Path:
        """Write the session so far to the local `path`, as .ipynb."""
        return self._bridge.call(self._inner.save_notebook(path))

    def interrupt(self) -> SessionInfo:
        """Stop the running code; variables are kept. Sent once: a second could hit other code."""
        return self._bridge.call(self._inner.interrupt())

    def restart(self) -> SessionInfo:
        """Start a fresh kernel; variables are gone, files stay. Sent once, as `interrupt` is."""
        return self._bridge.call(self._inner.restart())

    def close(self) -> None:
        """End the session; one that is over already is fine."""
        self._bridge.call(self._inner.close())


class SyncSandboxClient:
    """A client of one service. URL and key come from SANDBOX_URL and SANDBOX_API_KEY unless given.

    with SyncSandboxClient() as client, client.open_session() as session:
        result = session.execute("1 + 1")

    `retries` says how calls are tried again; `transport` and `clock` are for tests.
    """

    def __init__(
        self,
        base_url: str | None = None,
        api_key: str | None = None,
        *,
        retries: Retries | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._bridge = Bridge()
        self._inner = SandboxClient(
            base_url, api_key, retries=retries, transport=transport, clock=clock
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def base_url(self) -> str:
        return self._inner.base_url

    def close(self) -> None:
        """Close the connections; sessions go on."""
        self._bridge.close(self._inner.close())

    def is_ready(self) -> bool:
        """Whether the service says, asked once, that it can take work. Raises ServiceUnreachable."""
        return self._bridge.call(self._inner.is_ready())

    def new_session(
        self, *, idempotency_key: str | None = None, **options: Unpack[SessionOptions]
    ) -> SyncSession:
        """Open a session that the caller closes, or that expires.

        The same `idempotency_key` gives the same session; each call makes its own unless given.
        """
        return SyncSession.of(
            self._bridge,
            self._bridge.call(self._inner.new_session(idempotency_key=idempotency_key, **options)),
        )

    @contextmanager
    def open_session(
        self, *, keep: bool = False, **options: Unpack[SessionOptions]
    ) -> Iterator[SyncSession]:
        """Open a session and close it at the end, unless it is to be kept."""
        with self._bridge.entered(self._inner.open_session(keep=keep, **options)) as value:
            yield SyncSession.of(self._bridge, value)

    def session(self, session_id: str) -> SyncSession:
        """A session that exists already. Nothing is sent: its first call tells if it is there."""
        return SyncSession.of(self._bridge, self._inner.session(session_id))

    def sessions(self, limit: int = 20, after: str | None = None) -> list[SessionInfo]:
        """The newest sessions of the key's tenant, those after the one with id `after`."""
        return self._bridge.call(self._inner.sessions(limit, after))

    def artifact(self, artifact_id: str) -> SyncArtifact:
        """A file that some execution made, by its id; its session may be over."""
        return SyncArtifact.of(self._bridge, self._bridge.call(self._inner.artifact(artifact_id)))

    def run(
        self,
        code: str,
        *,
        files: Mapping[str, str | Path | bytes] | None = None,
        timeout_s: float | None = None,
        idempotency_key: str | None = None,
        **options: Unpack[SessionOptions],
    ) -> SyncExecutionResult:
        """Run `code` once, in a session of its own that is closed afterwards.

        `files` are put into its workspace before: names there, and paths or contents. That takes
        several calls, which no one `idempotency_key` can stand for.
        """
        return SyncExecutionResult.of(
            self._bridge,
            self._bridge.call(
                self._inner.run(
                    code,
                    files=files,
                    timeout_s=timeout_s,
                    idempotency_key=idempotency_key,
                    **options,
                )
            ),
        )
