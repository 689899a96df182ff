"""What answers look like, for the API's documentation."""

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, Field

from sandbox_service.domain.values import ExecutionStatus, KernelStamp, Limits, SessionStatus


class ErrorDetail(BaseModel):
    type: str
    code: str = Field(description="Stable; programs decide by it.")
    message: str = Field(description="For people.")
    param: str | None = Field(description="The field, query parameter or path part it is about.")
    retryable: bool = Field(description="The same call may work later.")
    request_id: str


class Error(BaseModel):
    """The body of every error."""

    error: ErrorDetail


class SessionKernel(BaseModel):
    epoch: int = Field(description="Rises whenever the kernel's state was lost.")
    state: Literal["starting", "idle", "busy", "dead"]


class Session(BaseModel):
    """A stateful workspace: a live kernel and files, in a sandbox of its own."""

    id: str
    object: Literal["session"]
    status: SessionStatus
    template: str
    runtime: str
    created_at: datetime
    last_active_at: datetime
    expires_at: datetime
    idle_ttl_s: float
    max_age_s: float
    limits: Limits
    kernel: SessionKernel
    metadata: dict[str, str]


class Artifact(BaseModel):
    """A file that an execution made or changed; outlives its session."""

    id: str
    object: Literal["artifact"]
    session_id: str
    execution_id: str
    path: str = Field(description="Its path in the workspace when the execution ended.")
    size: int
    media_type: str
    sha256: str
    created_at: datetime
    expires_at: datetime
    url: str = Field(description="Downloads the file without a key, for a while.")


class Execution(BaseModel):
    """One run of one cell. What the cell did is data: an exception in it is status `error`."""

    id: str
    object: Literal["execution"]
    session_id: str
    status: ExecutionStatus
    execution_count: int | None
    outputs: list[dict[str, Any]] = Field(description="nbformat v4 output nodes.")
    artifacts: list[Artifact]
    truncated: bool
    notices: list[str]
    created_at: datetime
    started_at: datetime | None
    duration_s: float | None
    kernel: KernelStamp
    session_expires_at: datetime


class Run(BaseModel):
    """An execution and the session it ran in."""

    session: Session
    execution: Execution


class File(BaseModel):
    """A file or folder of the workspace."""

    object: Literal["file"]
    path: str = Field(description="For people: bytes that are not UTF-8 are shown replaced.")
    type: Literal["file", "directory"]
    size: int
    modified_at: datetime
    url: str = Field(description="The path to call, percent-encoded byte by byte.")


class Page(BaseModel):
    object: Literal["list"]
    has_more: bool
    next_cursor: str | None


class SessionPage(Page):
    data: list[Session]


class ExecutionPage(Page):
    data: list[Execution]


class FilePage(Page):
    data: list[File]


class Health(BaseModel):
    status: Literal["ok", "ready"]
