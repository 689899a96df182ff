"""The calls about workspace files."""

import os
from collections.abc import Awaitable, Callable

from agent.archive import archive
from agent.http import AgentError, Request
from agent.names import parts_of
from agent.workspace import Workspace, described

_CHUNK_BYTES = 256 * 1024
_BYTES = b"application/octet-stream"


class FileCalls:
    """Each method answers one call of PROTOCOL.md."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._methods: dict[str, Callable[[Request], Awaitable[None]]] = {
            "GET": self.read,
            "PUT": self.write,
            "DELETE": self.delete,
        }

    def find(self, method: str) -> Callable[[Request], Awaitable[None]]:
        """The call on one file that the method stands for."""
        if method not in self._methods:
            raise AgentError("not_found", "there is no such call")
        return self._methods[method]

    async def list(self, request: Request) -> None:
        entries, truncated = self._workspace.entries(_prefix(request))
        await request.answer({"entries": list(map(described, entries)), "truncated": truncated})

    async def read(self, request: Request) -> None:
        fd = self._workspace.open(_parts(request))
        try:
            left = os.fstat(fd).st_size
            await request.start(200, _BYTES, left)
            while left:
                chunk = os.read(fd, min(left, _CHUNK_BYTES))
                if not chunk:
                    raise OSError("the file shrank while it was read")
                left -= len(chunk)
                await request.piece(chunk)
            await request.end()
        finally:
            os.close(fd)

    async def write(self, request: Request) -> None:
        entry = await self._workspace.write(_parts(request), request.body())
        await request.answer(described(entry))

    async def delete(self, request: Request) -> None:
        self._workspace.delete(_parts(request))
        await request.start(204, _BYTES)
        await request.end()

    async def archive(self, request: Request) -> None:
        await request.start(200, b"application/x-tar")
        for piece in archive(self._workspace):
            await request.piece(piece)
        await request.end()


def _parts(request: Request) -> list[bytes]:
    return parts_of(request.path.removeprefix(b"/v1/files/"))


def _prefix(request: Request) -> bytes:
    """The directory to list: the raw query value, since a name is percent-encoded only once."""
    for argument in request.query.split(b"&"):
        name, _, value = argument.partition(b"=")
        if name == b"prefix" and value.strip(b"/"):
            return b"/".join(parts_of(value.strip(b"/")))
    return b""
