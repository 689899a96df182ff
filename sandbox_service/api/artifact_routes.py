"""Artifacts: files that cells made. A signed link opens one of them for a while, without a key."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict

from starlette.requests import Request
from starlette.responses import Response

from sandbox_service.api.answers import json_answer
from sandbox_service.api.endpoint import Endpoint, principal_of
from sandbox_service.api.file_routes import attachment
from sandbox_service.api.presenter import Presenter
from sandbox_service.api.ranges import ByteRange, first_bytes, parse_range
from sandbox_service.api.schemas import LinkQuery
from sandbox_service.api.services import Services
from sandbox_service.api.streams import Download
from sandbox_service.api.views import Artifact
from sandbox_service.domain.ports import FileStream
from sandbox_service.domain.tenancy import CALLER
from sandbox_service.domain.values import ArtifactRecord

_TAG = "Artifacts"
_ONE = "/v1/artifacts/{artifact_id}"
_LINK_TEXT = "Takes a key, or the `expires`, `issued` and `signature` of a link in place of one."


class ArtifactRoutes:
    def __init__(self, services: Services, presenter: Presenter) -> None:
        self._artifacts = services.artifacts
        self._links = services.links
        self._audit = services.audit
        self._pace = services.pace
        self._present = presenter

    async def get_artifact(self, request: Request) -> Response:
        return json_answer(self._present.artifact(await self._record(request), request))

    async def get_artifact_content(self, request: Request) -> Response:
        record = await self._record(request)
        headers = {
            **attachment(record.path),
            "ETag": f'"{record.sha256}"',
            "Accept-Ranges": "bytes",
        }
        if headers["ETag"] in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        chosen = parse_range(request.headers.get("range", ""), record.size)
        if chosen is None:
            return Download(self._artifacts.open(record), headers, self._pace, record.media_type)
        headers["Content-Range"] = f"bytes {chosen.first}-{chosen.last}/{record.size}"
        return Download(
            self._open_range(record, chosen), headers, self._pace, record.media_type, status=206
        )

    async def delete_artifact(self, request: Request) -> Response:
        record = await self._record(request)
        await self._artifacts.delete(record)
        self._note("artifact.deleted", record)
        return Response(status_code=204)

    async def revoke_links(self, request: Request) -> Response:
        record = await self._record(request)
        await asyncio.to_thread(self._links.revoke, record.id)
        self._note("link.revoked", record)
        return Response(status_code=204)

    def _note(self, event: str, record: ArtifactRecord) -> None:
        self._audit.record(event, artifact_id=record.id, **asdict(CALLER.get()))

    async def _record(self, request: Request) -> ArtifactRecord:
        """The artifact of the URL. A link speaks for its own artifact, whosever it is."""
        principal = principal_of(request)
        tenant = None if principal.artifact_id is not None else principal.tenant
        return await self._artifacts.get(tenant, request.path_params["artifact_id"])

    @asynccontextmanager
    async def _open_range(
        self, record: ArtifactRecord, chosen: ByteRange
    ) -> AsyncIterator[FileStream]:
        async with self._artifacts.open(record, chosen.first) as stream:
            yield FileStream(size=chosen.size, chunks=first_bytes(stream.chunks, chosen.size))

    def endpoints(self) -> list[Endpoint]:
        return [*self._read_endpoints(), *self._end_endpoints()]

    def _end_endpoints(self) -> list[Endpoint]:
        return [
            Endpoint(
                "DELETE",
                _ONE,
                self.delete_artifact,
                "Delete an artifact",
                _TAG,
                description="Its bytes are gone before its time, and no link opens it any more.",
                status=204,
                errors=(404, 410),
            ),
            Endpoint(
                "DELETE",
                _ONE + "/links",
                self.revoke_links,
                "Revoke an artifact's links",
                _TAG,
                description="No link signed so far opens it any more; links signed from now on do.",
                status=204,
                errors=(404, 410),
            ),
        ]

    def _read_endpoints(self) -> list[Endpoint]:
        content = _ONE + "/content"
        octets = "application/octet-stream"
        return [
            Endpoint(
                "GET",
                _ONE,
                self.get_artifact,
                "Read an artifact",
                _TAG,
                description=_LINK_TEXT,
                answer=Artifact,
                query=LinkQuery,
                errors=(404, 410),
            ),
            Endpoint(
                "GET",
                content,
                self.get_artifact_content,
                "Download an artifact",
                _TAG,
                description=_LINK_TEXT,
                answer=octets,
                query=LinkQuery,
                errors=(404, 410, 416),
            ),
            Endpoint(
                "HEAD",
                content,
                self.get_artifact_content,
                "Size of an artifact",
                _TAG,
                answer=octets,
                query=LinkQuery,
                errors=(404, 410, 416),
            ),
        ]
