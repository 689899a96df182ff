"""JSON of the service to values. Raises ProtocolError on anything that is not the contract's."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from sandbox_service.client.errors import ProtocolError
from sandbox_service.client.results import Artifact, ExecutionResult, FileInfo, SessionInfo
from sandbox_service.client.transport import Transport


@contextmanager
def _reading(what: str) -> Iterator[None]:
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ProtocolError(f"the service sent {what} that cannot be read: {error!r}") from error


def parse_session(body: Any) -> SessionInfo:
    """A Session object of the service."""
    with _reading("a session"):
        expires_at = datetime.fromisoformat(body["expires_at"])
        return SessionInfo(body["id"], body["status"], expires_at, raw=body)


def parse_file(body: Any) -> FileInfo:
    """An entry of the workspace."""
    with _reading("a file entry"):
        modified_at = datetime.fromisoformat(body["modified_at"])
        return FileInfo(body["path"], body["type"], int(body["size"]), modified_at)


def parse_list(body: Any) -> list[Any]:
    """The items of a List object."""
    with _reading("a list"):
        return list(body["data"])


def parse_artifact(body: Any, transport: Transport) -> Artifact:
    """An Artifact object of the service."""
    with _reading("an artifact"):
        return Artifact(
            id=body["id"],
            path=body["path"],
            size=int(body["size"]),
            media_type=body["media_type"],
            sha256=body["sha256"],
            url=body["url"],
            _transport=transport,
        )


def parse_execution(body: Any, transport: Transport) -> ExecutionResult:
    """An Execution object of the service."""
    with _reading("an execution"):
        return ExecutionResult(
            id=body["id"],
            session_id=body["session_id"],
            status=body["status"],
            execution_count=body.get("execution_count"),
            outputs=tuple(body["outputs"]),
            artifacts=tuple(parse_artifact(item, transport) for item in body["artifacts"]),
            truncated=bool(body.get("truncated", False)),
            notices=tuple(map(str, body.get("notices", ()))),
            duration_s=body.get("duration_s"),
            epoch=int(body["kernel"]["epoch"]),
            state=body["kernel"]["state"],
            session_expires_at=datetime.fromisoformat(body["session_expires_at"]),
            raw=body,
        )
