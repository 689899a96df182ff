"""What the API stands on: the rooms below, seen as small Protocols."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from prometheus_client import CollectorRegistry

from sandbox_service.api.auth import Keys
from sandbox_service.api.streams import Pace
from sandbox_service.domain.ports import FileStream, WorkspaceFiles
from sandbox_service.domain.requests import ExecuteCode, OpenSession, UpdateSession
from sandbox_service.domain.stores import OnceStore
from sandbox_service.domain.tenancy import AuditLog, NoAudit, NoQuotas, Quotas
from sandbox_service.domain.values import (
    ArtifactRecord,
    ExecutionEvent,
    ExecutionRecord,
    SessionRecord,
)
from sandbox_service.settings import Settings


class Sessions(Protocol):
    """Sessions of one tenant at a time; another tenant's id raises NotFound."""

    async def open(
        self, tenant: str, request: OpenSession, session_id: str | None = None
    ) -> SessionRecord: ...

    async def get(self, tenant: str, session_id: str) -> SessionRecord: ...

    async def list(self, tenant: str, limit: int, after: str | None) -> Sequence[SessionRecord]: ...

    async def update(
        self, tenant: str, session_id: str, request: UpdateSession
    ) -> SessionRecord: ...

    async def close(self, tenant: str, session_id: str) -> SessionRecord: ...

    async def interrupt(self, tenant: str, session_id: str) -> SessionRecord: ...

    async def restart(self, tenant: str, session_id: str) -> SessionRecord: ...

    def files(
        self, tenant: str, session_id: str
    ) -> AbstractAsyncContextManager[WorkspaceFiles]: ...


class Executions(Protocol):
    """Executions of one tenant's sessions."""

    async def submit(
        self,
        tenant: str,
        session_id: str,
        request: ExecuteCode,
        execution_id: str | None = None,
    ) -> ExecutionRecord: ...

    async def wait(self, tenant: str, session_id: str, execution_id: str) -> ExecutionRecord: ...

    async def get(self, tenant: str, session_id: str, execution_id: str) -> ExecutionRecord: ...

    def events(
        self, tenant: str, session_id: str, execution_id: str, after: int = 0
    ) -> AsyncIterator[ExecutionEvent]: ...

    async def history(
        self, tenant: str, session_id: str, limit: int | None = None, after: str | None = None
    ) -> Sequence[ExecutionRecord]: ...

    async def attend(self, record: ExecutionRecord) -> None: ...

    async def cancel(self, tenant: str, session_id: str, execution_id: str) -> None: ...


class Artifacts(Protocol):
    """Files that executions made. `tenant` None means: the caller holds a link to this one."""

    async def get(self, tenant: str | None, artifact_id: str) -> ArtifactRecord: ...

    async def delete(self, record: ArtifactRecord) -> None: ...

    def open(
        self, record: ArtifactRecord, first: int = 0
    ) -> AbstractAsyncContextManager[FileStream]: ...


class Links(Protocol):
    """Signs links to artifacts, checks and revokes them."""

    def sign(self, artifact_id: str, expires_at: datetime) -> str: ...

    def verify(self, artifact_id: str, expires: str, signature: str, issued: str = "") -> None: ...

    def revoke(self, artifact_id: str) -> None: ...


@dataclass(frozen=True, slots=True)
class Services:
    """The rooms below, built once by the application.

    `posture` answers for a tenant; `readiness` gives the reasons why the service is not ready.
    """

    settings: Settings
    keys: Keys
    sessions: Sessions
    executions: Executions
    artifacts: Artifacts
    links: Links
    registry: CollectorRegistry
    posture: Callable[[str], Awaitable[dict[str, Any]]]
    readiness: Callable[[], Awaitable[list[str]]]
    once: OnceStore
    pace: Pace = field(default_factory=Pace)
    quotas: Quotas = field(default_factory=NoQuotas)
    audit: AuditLog = field(default_factory=NoAudit)
