"""The Python client: sessions, executions, files and artifacts, over the REST interface."""

from sandbox_service.client.client import SandboxClient
from sandbox_service.client.errors import (
    ApiError,
    ClientError,
    InvalidRequest,
    NotFound,
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
    ExecutionCompleted,
    ExecutionStarted,
    OutputChanged,
)
from sandbox_service.client.results import (
    Artifact,
    ErrorOutput,
    ExecutionResult,
    FileInfo,
    Image,
    SessionInfo,
)
from sandbox_service.client.session import Session, SessionOptions

__all__ = [
    "ApiError",
    "Artifact",
    "ArtifactMade",
    "ClientError",
    "ErrorOutput",
    "Event",
    "ExecutionCompleted",
    "ExecutionResult",
    "ExecutionStarted",
    "FileInfo",
    "Image",
    "InvalidRequest",
    "NotFound",
    "OutputChanged",
    "ProtocolError",
    "RateLimited",
    "SandboxClient",
    "ServiceUnreachable",
    "Session",
    "SessionGone",
    "SessionInfo",
    "SessionOptions",
    "StreamBroken",
    "Unauthenticated",
    "Unavailable",
]
