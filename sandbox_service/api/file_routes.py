"""Files of the workspace: list, upload, download, delete, tar. Bytes stream through."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response

from sandbox_service.api.answers import json_answer
from sandbox_service.api.bodies import limited, read_query, workspace_path
from sandbox_service.api.endpoint import Endpoint, principal_of
from sandbox_service.api.flowing import flowing_json
from sandbox_service.api.multipart import Upload, read_uploads
from sandbox_service.api.once import (
    ContentDigest,
    begun_once,
    note_done,
    require_same_content,
)
from sandbox_service.api.presenter import Presenter, page, page_frame
from sandbox_service.api.schemas import FilesQuery
from sandbox_service.api.services import Services
from sandbox_service.api.streams import Download
from sandbox_service.api.views import File, FilePage
from sandbox_service.domain.errors import InvalidRequest
from sandbox_service.domain.names import clean_path
from sandbox_service.domain.ports import FileStream, WorkspaceFiles
from sandbox_service.domain.stores import OnceEntry
from sandbox_service.domain.values import FileEntry

_TAG = "Files"
_ALL = "/v1/sessions/{session_id}/files"
_ONE = _ALL + "/{path:path}"
_UNKNOWN_SIZE = -1


def attachment(path: str) -> dict[str, str]:
    """Headers that make a browser save the file and never show or run it."""
    name = quote(path.rpartition("/")[2].encode("utf-8", "surrogateescape"), safe="")
    return {
        "Content-Disposition": f"attachment; filename*=UTF-8''{name}",
        "Content-Security-Policy": "sandbox; default-src 'none'",
        "Cache-Control": "private, no-cache",
    }


class FileRoutes:
    def __init__(self, services: Services, presenter: Presenter) -> None:
        self._sessions = services.sessions
        self._once = services.once
        self._pace = services.pace
        self._present = presenter
        self._max_upload_bytes = services.settings.max_upload_bytes

    async def list_files(self, request: Request) -> Response:
        prefix = read_query(request, FilesQuery).prefix
        session_id = request.path_params["session_id"]
        async with self._files(request) as files:
            entries = await files.list(clean_path(prefix.rstrip("/")) if prefix else "")
        items = (self._present.file(entry, session_id) for entry in entries)
        return flowing_json(page_frame(None), "data", items, self._pace)

    async def put_file(self, request: Request) -> Response:
        path = workspace_path(request)
        async with self._files(request) as files:
            entry = await files.write(path, limited(request, self._max_upload_bytes))
        return json_answer(self._present.file(entry, request.path_params["session_id"]))

    async def upload_files(self, request: Request) -> Response:
        digest = ContentDigest()
        # Until its bytes have been read the length stands for the body. Written again they are the same
        # files; once it is known that they arrived, a second body is only read and compared.
        length = request.headers.get("content-length", "")
        async with begun_once(self._once, request, length) as once:
            if once.is_done:
                entries = await self._uploaded(request, once, digest)
            else:
                entries = await self._upload(request, digest)
        if not once.is_done:
            await note_done(self._once, request, digest.text)
        session_id = request.path_params["session_id"]
        return json_answer(page([self._present.file(entry, session_id) for entry in entries]), 201)

    async def _upload(self, request: Request, digest: ContentDigest) -> list[FileEntry]:
        async with self._files(request) as files:
            named = self._named_uploads(request, digest)
            entries = [await files.write(path, chunks) async for path, chunks in named]
        if not entries:
            raise InvalidRequest("The form holds no file.", param="file")
        return entries

    async def _uploaded(
        self, request: Request, once: OnceEntry, digest: ContentDigest
    ) -> list[FileEntry]:
        """Of an upload that was made before: the files as they are now."""
        paths = [path async for path, _ in self._named_uploads(request, digest)]
        require_same_content(once, digest.text)
        async with self._files(request) as files:
            entries = {entry.path: entry for entry in await files.list()}
        return [entries[path] for path in paths if path in entries]

    async def _named_uploads(
        self, request: Request, digest: ContentDigest
    ) -> AsyncIterator[tuple[str, AsyncIterator[bytes]]]:
        """Where each file of the form goes, and its bytes; those that nobody takes are read as well."""
        folder, is_late = "", False
        async for upload in read_uploads(request, self._max_upload_bytes):
            if upload.filename is None:
                folder = await self._folder(upload, is_late=is_late)
                continue
            path, is_late = clean_path(folder + upload.filename), True
            chunks = digest.over(path, upload.chunks)
            yield path, chunks
            async for _ in chunks:
                pass

    async def _folder(self, upload: Upload, *, is_late: bool) -> str:
        if upload.name != "path":
            raise InvalidRequest(f"There is no such form field: {upload.name}.", param=upload.name)
        if is_late:
            raise InvalidRequest("path must come before the files.", param="path")
        folder = (await upload.text()).rstrip("/")
        return clean_path(folder) + "/" if folder else ""

    async def get_file(self, request: Request) -> Response:
        path = workspace_path(request)
        return Download(self._open(request, path), attachment(path), self._pace)

    async def delete_file(self, request: Request) -> Response:
        path = workspace_path(request)
        async with self._files(request) as files:
            await files.delete(path)
        return Response(status_code=204)

    async def get_archive(self, request: Request) -> Response:
        name = f"{request.path_params['session_id']}.tar"
        return Download(
            self._open_archive(request), attachment(name), self._pace, "application/x-tar"
        )

    @asynccontextmanager
    async def _files(self, request: Request) -> AsyncIterator[WorkspaceFiles]:
        tenant, session_id = principal_of(request).tenant, request.path_params["session_id"]
        async with self._sessions.files(tenant, session_id) as files:
            yield files

    @asynccontextmanager
    async def _open(self, request: Request, path: str) -> AsyncIterator[FileStream]:
        async with self._files(request) as files, files.read(path) as stream:
            yield stream

    @asynccontextmanager
    async def _open_archive(self, request: Request) -> AsyncIterator[FileStream]:
        async with self._files(request) as files, files.archive() as chunks:
            yield FileStream(size=_UNKNOWN_SIZE, chunks=chunks)

    def endpoints(self) -> list[Endpoint]:
        return [*self._folder_endpoints(), *self._file_endpoints()]

    def _folder_endpoints(self) -> list[Endpoint]:
        return [
            Endpoint(
                "GET",
                _ALL,
                self.list_files,
                "List files",
                _TAG,
                answer=FilePage,
                query=FilesQuery,
                errors=(400, 404, 410),
            ),
            Endpoint(
                "POST",
                _ALL,
                self.upload_files,
                "Upload several files",
                _TAG,
                description="A multipart form: an optional field `path`, the folder, then files.",
                status=201,
                answer=FilePage,
                body="multipart/form-data",
                errors=(400, 404, 409, 410, 413, 507),
            ),
            Endpoint(
                "GET",
                "/v1/sessions/{session_id}/archive",
                self.get_archive,
                "Download the workspace as a tar",
                _TAG,
                answer="application/x-tar",
                errors=(404, 410),
            ),
        ]

    def _file_endpoints(self) -> list[Endpoint]:
        errors = (400, 404, 409, 410)
        octets = "application/octet-stream"
        return [
            Endpoint(
                "GET", _ONE, self.get_file, "Download a file", _TAG, answer=octets, errors=errors
            ),
            Endpoint(
                "HEAD", _ONE, self.get_file, "Size of a file", _TAG, answer=octets, errors=errors
            ),
            Endpoint(
                "PUT",
                _ONE,
                self.put_file,
                "Upload a file",
                _TAG,
                description="The body is the file. It is replaced as a whole or not at all.",
                answer=File,
                body=octets,
                errors=(*errors, 413, 507),
            ),
            Endpoint(
                "DELETE",
                _ONE,
                self.delete_file,
                "Delete a file or folder",
                _TAG,
                status=204,
                errors=errors,
            ),
        ]
