"""What a turn made, saved to a local directory: the files, and pictures that were only shown."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

from runner.events import CallFinished, Event
from sandbox_service.client import Artifact, ExecutionResult, Image, ProtocolError

SUFFIXES = {
    "image/png": ".png",
    "image/jpeg": ".jpg",
    "image/webp": ".webp",
    "image/gif": ".gif",
    "image/svg+xml": ".svg",
}


@dataclass(slots=True)
class Results:
    """Gathers what executions made; the latest version of a file counts."""

    artifacts: dict[str, Artifact] = field(default_factory=dict)
    images: list[Image] = field(default_factory=list)

    def add(self, event: Event) -> None:
        """Take note of a finished call."""
        if isinstance(event, CallFinished) and event.result is not None:
            self.artifacts |= {artifact.path: artifact for artifact in event.result.artifacts}
            self.images.extend(_only_shown(event.result))

    async def save(self, directory: str | Path) -> list[Path]:
        """Write everything below `directory`; returns the paths. Raises ClientError, OSError."""
        directory = Path(directory)
        saved = [path async for path in self._save_artifacts(directory)]
        for image in self.images:
            path = _free_name(directory, SUFFIXES[image.media_type])
            await asyncio.to_thread(_write, path, image.content)
            saved.append(path)
        return saved

    async def _save_artifacts(self, directory: Path) -> AsyncIterator[Path]:
        for artifact in self.artifacts.values():
            try:
                yield await artifact.save(directory)
            except ProtocolError:
                # A name that cannot be a local file's: the others are still wanted.
                continue


def _only_shown(result: ExecutionResult) -> tuple[Image, ...]:
    """The pictures of an execution that saved none: a figure is often both shown and saved."""
    if any(artifact.path.endswith(tuple(SUFFIXES.values())) for artifact in result.artifacts):
        return ()
    return result.images


def _free_name(directory: Path, suffix: str) -> Path:
    number = 1
    while (path := directory / f"chart-{number}{suffix}").exists():
        number += 1
    return path


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
