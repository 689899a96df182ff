"""What calls return: plain frozen values, with the few actions that belong to them."""

import base64
import binascii
import hashlib
import os
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from sandbox_service.client.errors import ProtocolError
from sandbox_service.client.transport import Transport

Output = dict[str, Any]
"""An nbformat v4 output node."""

IMAGE_TYPES = ("image/png", "image/jpeg", "image/webp", "image/gif", "image/svg+xml")


@dataclass(frozen=True, slots=True)
class SessionInfo:
    """A session as the service describes it; `raw` is the whole answer."""

    id: str
    status: str
    expires_at: datetime
    raw: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True)
class FileInfo:
    """A file or directory of the workspace; `path` is relative to it."""

    path: str
    type: Literal["file", "directory"]
    size: int
    modified_at: datetime


@dataclass(frozen=True, slots=True)
class Image:
    """A picture that the code showed."""

    media_type: str
    content: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class ErrorOutput:
    """The exception that ended the code; `traceback` may carry terminal colours."""

    name: str
    value: str
    traceback: tuple[str, ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Artifact:
    """A file that an execution made or changed. `url` works without a key until it expires."""

    id: str
    path: str
    size: int
    media_type: str
    sha256: str
    url: str
    _transport: Transport = field(repr=False, compare=False)

    async def read(self) -> bytes:
        """The whole content, checked against `sha256`."""
        async with self._transport.stream("GET", self._content_path) as response:
            content = await response.aread()
        self._check(hashlib.sha256(content).hexdigest())
        return content

    async def save(self, directory: str | Path) -> Path:
        """Write the file below `directory` under its own name, all or nothing; returns its path."""
        target = Path(directory) / safe_relative_path(self.path)
        target.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=".part-")
        try:
            with os.fdopen(descriptor, "wb") as file:
                self._check(await self._copy_to(file))
            os.chmod(name, 0o644)
            os.replace(name, target)
        except BaseException:
            os.unlink(name)
            raise
        return target

    @property
    def _content_path(self) -> str:
        return f"/v1/artifacts/{self.id}/content"

    async def _copy_to(self, file: Any) -> str:
        digest = hashlib.sha256()
        async with self._transport.stream("GET", self._content_path) as response:
            async for chunk in response.aiter_bytes():
                digest.update(chunk)
                file.write(chunk)
        return digest.hexdigest()

    def _check(self, sha256: str) -> None:
        if sha256 != self.sha256:
            raise ProtocolError(f"{self.path}: what arrived is not what the service stored")


@dataclass(frozen=True, slots=True)
class ExecutionResult:
    """A finished execution. `status` is the outcome of the code; `raw` is the whole answer."""

    id: str
    session_id: str
    status: str
    execution_count: int | None
    outputs: tuple[Output, ...] = field(repr=False)
    artifacts: tuple[Artifact, ...]
    truncated: bool
    notices: tuple[str, ...]
    duration_s: float | None
    epoch: int
    state: Literal["kept", "reset"]
    session_expires_at: datetime
    raw: Mapping[str, Any] = field(repr=False)

    @property
    def is_ok(self) -> bool:
        return self.status == "ok"

    @property
    def text(self) -> str:
        """Everything printed and shown, as plain text, in order."""
        return "".join(filter(None, (_text_of(output) for output in self.outputs)))

    @property
    def error(self) -> ErrorOutput | None:
        """The exception that ended the code, if one did."""
        for output in self.outputs:
            if output.get("output_type") == "error":
                traceback = tuple(str(line) for line in output.get("traceback", ()))
                name, value = str(output.get("ename", "")), str(output.get("evalue", ""))
                return ErrorOutput(name, value, traceback)
        return None

    @property
    def images(self) -> tuple[Image, ...]:
        """The pictures shown, in order; data that cannot be decoded is left out."""
        return tuple(image for output in self.outputs for image in images_of(output))


def images_of(output: Output) -> Iterator[Image]:
    """The picture of an output node in its best format, or nothing."""
    data = output.get("data")
    if not isinstance(data, dict):
        return
    for media_type in IMAGE_TYPES:
        if media_type in data:
            content = _decoded(media_type, data[media_type])
            if content is not None:
                yield Image(media_type, content)
            return


def joined(text: Any) -> str:
    """The text of a notebook's multi-line string: a string, or a list of them."""
    return "".join(map(str, text)) if isinstance(text, list) else str(text)


def safe_relative_path(name: str) -> PurePosixPath:
    """`name` as a path that stays below its directory. Raises ProtocolError for any other."""
    path = PurePosixPath(name)
    if not path.parts or path.is_absolute() or ".." in path.parts or "\0" in name:
        raise ProtocolError(f"not a file name to save under: {name!r}")
    return path


def _decoded(media_type: str, data: Any) -> bytes | None:
    text = joined(data)
    if media_type == "image/svg+xml":
        return text.encode()
    try:
        return base64.b64decode(text)
    except (binascii.Error, ValueError):
        return None


def _text_of(output: Output) -> str:
    if output.get("output_type") == "stream":
        return joined(output.get("text", ""))
    data = output.get("data")
    if isinstance(data, dict) and "text/plain" in data:
        return joined(data["text/plain"]) + "\n"
    return ""
