"""What calls return: plain frozen values, with the few actions that belong to them."""

import asyncio
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

from sandbox_service.client.display import html_of, last_png
from sandbox_service.client.errors import ProtocolError
from sandbox_service.client.outputs import (
    IMAGE_TYPES,
    ErrorOutput,
    Image,
    Output,
    error_of,
    images_of,
    joined,
    text_of,
)
from sandbox_service.client.saving import claimed, strict_path, written
from sandbox_service.client.transport import Transport

__all__ = [
    "IMAGE_TYPES",
    "Artifact",
    "ErrorOutput",
    "ExecutionResult",
    "FileInfo",
    "Image",
    "Output",
    "SessionInfo",
    "images_of",
    "joined",
]

CHUNK_BYTES = 1024 * 1024


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
        content = await self._transport.content(f"{_path_of(self)}/content")
        _check(self, hashlib.sha256(content).hexdigest())
        return content

    async def save(self, directory: str | Path) -> Path:
        """Write the file below `directory` under its own name, all or nothing; returns its path.

        A file of that name is replaced. Raises ProtocolError for a name that leaves `directory`.
        """
        target = Path(directory) / strict_path(self.path)
        target.parent.mkdir(parents=True, exist_ok=True)
        await _write(self, target)
        return target

    async def delete(self) -> None:
        """Remove it from the service; its links open nothing any more."""
        await self._transport.delete(_path_of(self))


def _path_of(artifact: Artifact) -> str:
    return f"/v1/artifacts/{quote(artifact.id, safe='')}"


async def _write(artifact: Artifact, target: Path) -> None:
    """The content at `target`, checked, all or nothing."""
    await artifact._transport.repeated(lambda: _write_once(artifact, target))


async def _write_once(artifact: Artifact, target: Path) -> None:
    digest = hashlib.sha256()
    with written(target) as file:
        async with artifact._transport.stream("GET", f"{_path_of(artifact)}/content") as answer:
            async for chunk in answer.aiter_bytes(CHUNK_BYTES):
                digest.update(chunk)
                await asyncio.to_thread(file.write, chunk)
        _check(artifact, digest.hexdigest())


def _check(artifact: Artifact, sha256: str) -> None:
    if sha256 != artifact.sha256:
        raise ProtocolError(f"{artifact.path}: what arrived is not what the service stored")


@dataclass(frozen=True, slots=True)
class ExecutionResult:
    """A finished execution. `status` is the outcome of the code; `raw` is the whole answer.

    A notebook shows it as its output would be: text, tables, pictures, links to the files.
    """

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
        return "".join(text_of(output) for output in self.outputs)

    @property
    def error(self) -> ErrorOutput | None:
        """The exception that ended the code, if one did."""
        return error_of(self.outputs)

    @property
    def images(self) -> tuple[Image, ...]:
        """The pictures shown, in order; data that cannot be decoded is left out."""
        return tuple(image for output in self.outputs for image in images_of(output))

    async def save(self, directory: str | Path) -> list[Path]:
        """Write every artifact and picture below `directory`; returns the paths.

        No file is replaced: a name that is taken gets a number. Names that would leave
        `directory` are changed so that they do not.
        """
        saved = [await _save_beside(artifact, Path(directory)) for artifact in self.artifacts]
        for number, image in enumerate(self.images, start=1):
            with claimed(Path(directory), f"image-{number}{image.suffix}") as target:
                await asyncio.to_thread(target.write_bytes, image.content)
            saved.append(target)
        return saved

    def _repr_html_(self) -> str:
        return html_of(self)

    def _repr_png_(self) -> bytes | None:
        return last_png(self.outputs)


async def _save_beside(artifact: Artifact, directory: Path) -> Path:
    """The artifact under a name that is free."""
    with claimed(directory, artifact.path) as target:
        await _write(artifact, target)
    return target
