"""Records as the public JSON: what callers see, and nothing else."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote, urlencode

from starlette.requests import Request

from sandbox_service.api.endpoint import principal_of
from sandbox_service.api.schemas import LinkQuery
from sandbox_service.api.services import Services
from sandbox_service.domain.json_values import RawJson
from sandbox_service.domain.names import display_path, encode_name
from sandbox_service.domain.requests import WITHOUT_JSON
from sandbox_service.domain.values import (
    LIVE_STATUSES,
    ArtifactRecord,
    ExecutionEvent,
    ExecutionRecord,
    FileEntry,
    Output,
    SessionRecord,
    SessionStatus,
)

Json = dict[str, Any]


class Presenter:
    """Turns records into the JSON of the API."""

    def __init__(self, services: Services) -> None:
        self._links = services.links
        self._link_ttl = timedelta(seconds=services.settings.link_ttl_s)
        self._public_url = (services.settings.public_url or "").rstrip("/")

    def session(self, record: SessionRecord) -> Json:
        return {
            "id": record.id,
            "object": "session",
            "status": record.status,
            "template": record.template,
            "runtime": record.runtime,
            "created_at": record.created_at,
            "last_active_at": record.last_active_at,
            "expires_at": record.expires_at,
            "idle_ttl_s": record.idle_ttl_s,
            "max_age_s": record.max_age_s,
            "limits": record.limits.model_dump(),
            "kernel": {"epoch": record.epoch, "state": kernel_state(record)},
            "metadata": record.metadata,
        }

    def execution(self, record: ExecutionRecord, request: Request) -> Json:
        return {
            "id": record.id,
            "object": "execution",
            "session_id": record.session_id,
            "status": record.status,
            "execution_count": record.execution_count,
            "outputs": [_output(node, request) for node in record.outputs],
            "artifacts": [self.artifact(item, request) for item in record.artifacts],
            "truncated": record.truncated,
            "notices": record.notices,
            "created_at": record.created_at,
            "started_at": record.started_at,
            "duration_s": record.duration_s,
            "kernel": {"epoch": record.kernel.epoch, "state": record.kernel.state},
            "session_expires_at": record.session_expires_at,
        }

    def artifact(self, record: ArtifactRecord, request: Request) -> Json:
        return {
            "id": record.id,
            "object": "artifact",
            "session_id": record.session_id,
            "execution_id": record.execution_id,
            "path": display_path(record.path),
            "size": record.size,
            "media_type": record.media_type,
            "sha256": record.sha256,
            "created_at": record.created_at,
            "expires_at": record.expires_at,
            "url": self._signed_url(record, request),
        }

    def _signed_url(self, record: ArtifactRecord, request: Request) -> str:
        """A fresh link; who came by a link gets that one again, which ends when it was to end."""
        if principal_of(request).artifact_id is not None:
            asked = request.query_params
            query = urlencode({name: asked.get(name, "") for name in LinkQuery.model_fields})
        else:
            expires_at = min(record.expires_at, datetime.now(UTC) + self._link_ttl)
            query = self._links.sign(record.id, expires_at)
        base = self._public_url or str(request.base_url).rstrip("/")
        return f"{base}/v1/artifacts/{record.id}/content?{query}"

    def event(self, event: ExecutionEvent, request: Request) -> Json:
        """An event's data; records in it become what they are elsewhere."""
        match event.payload:
            case ExecutionRecord() as record:
                return {"execution": self.execution(record, request)}
            case ArtifactRecord() as artifact:
                return {"artifact": self.artifact(artifact, request)}
            case {"output": dict() as node} as data:
                return {**data, "output": _output(node, request)}
            case data:
                return data

    def file(self, entry: FileEntry, session_id: str) -> Json:
        return {
            "object": "file",
            "path": display_path(entry.path),
            "type": entry.type,
            "size": entry.size,
            "modified_at": entry.modified_at,
            "url": f"/v1/sessions/{quote(session_id)}/files/{encode_name(entry.path)}",
        }


def _output(node: Output, request: Request) -> Json:
    """The node; for a caller within this process without the JSON that only a browser makes use of."""
    if not request.scope.get("state", {}).get(WITHOUT_JSON) or "data" not in node:
        return node
    data = {kind: None if isinstance(it, RawJson) else it for kind, it in node["data"].items()}
    return {**node, "data": data, "metadata": {}}


def kernel_state(record: SessionRecord) -> str:
    """starting, idle, busy, or dead when there is no sandbox."""
    if record.status not in LIVE_STATUSES:
        return "dead"
    if record.status is SessionStatus.STARTING:
        return "starting"
    return "busy" if record.pending else "idle"


def page(data: Sequence[Json], *, has_more: bool = False) -> Json:
    """One page of a list, with the cursor to the next one."""
    return {**page_frame(data[-1]["id"] if has_more else None), "data": data}


def page_frame(next_cursor: str | None) -> Json:
    """What a page has beside its data; the last page has no cursor."""
    return {"object": "list", "has_more": next_cursor is not None, "next_cursor": next_cursor}
