"""The Python client: sessions, executions, files and artifacts, over the REST interface.

`SandboxClient` is for asynchronous programs, `SyncSandboxClient` the same for all others.
"""

from sandbox_service.client.client import SandboxClient
from sandbox_service.client.errors import (
    ApiError,
    ClientError,
    Conflict,
    IdempotencyKeyReused,
    InvalidRequest,
    NotFound,
    PermissionDenied,
    ProtocolError,
    RateLimited,
    ServiceUnreachable,
    SessionGone,
    StreamBroken,
    Unauthenticated,
    Unavailable,
)
from sandbox_service.client.events import (
    ArtifactMade,
    Event,
    EventsSkipped,
    ExecutionCompleted,
    ExecutionStarted,
    OutputChanged,
)
from sandbox_service.client.live import LiveOutputs
from sandbox_service.client.outputs import ErrorOutput, Image
from sandbox_service.client.results import Artifact, ExecutionResult, FileInfo, SessionInfo
from sandbox_service.client.retries import NO_RETRIES, Retries
from sandbox_service.client.session import Session, SessionOptions
from sandbox_service.client.sync import SyncSandboxClient

__all__ = [
    "NO_RETRIES",
    "ApiError",
    "Artifact",
    "ArtifactMade",
    "ClientError",
    "Conflict",
    "ErrorOutput",
    "Event",
    "EventsSkipped",
    "ExecutionCompleted",
    "ExecutionResult",
    "ExecutionStarted",
    "FileInfo",
    "IdempotencyKeyReused",
    "Image",
    "InvalidRequest",
    "LiveOutputs",
    "NotFound",
    "OutputChanged",
    "PermissionDenied",
    "ProtocolError",
    "RateLimited",
    "Retries",
    "SandboxClient",
    "ServiceUnreachable",
    "Session",
    "SessionGone",
    "SessionInfo",
    "SessionOptions",
    "StreamBroken",
    "SyncSandboxClient",
    "Unauthenticated",
    "Unavailable",
]
