"""An ArtifactCatalog in a directory: one JSON file per artifact, whose mtime is its expiry."""

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from functools import partial
from heapq import nsmallest
from pathlib import Path

from pydantic import ValidationError

from sandbox_service.domain.values import ArtifactRecord
from sandbox_service.files.places import LINKS_SUFFIX, draft_of, is_key, place
from sandbox_service.files.threads import in_thread
from sandbox_service.private_files import make_private_directory, write_private

_SUFFIX = ".json"


class DirectoryArtifactCatalog:
    """Keeps records as files under `root`, which may be the root of the blobs as well.

    Finding one costs one read; finding the due ones reads only those. A file that holds no record
    counts as missing.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    async def add(self, record: ArtifactRecord) -> None:
        """Keep the record, in place of one with the same id. Raises Unavailable (disk)."""
        await in_thread(partial(_write, place(self._root, record.id, _SUFFIX), record))

    async def get(self, artifact_id: str) -> ArtifactRecord | None:
        if not is_key(artifact_id):
            return None
        record = await in_thread(partial(_read, place(self._root, artifact_id, _SUFFIX)))
        return record if record is not None and record.id == artifact_id else None

    async def due(self, before: datetime, limit: int) -> Sequence[ArtifactRecord]:
        """Artifacts whose retention ended before `before`, the oldest first."""
        return await in_thread(partial(_due, self._root, before, limit))

    async def delete(self, artifact_id: str) -> bool:
        """Forget the artifact and the mark of its links; False when it was not known."""
        return await in_thread(partial(_delete, self._root, artifact_id))

    async def sizes(self) -> Mapping[str, int]:
        """How many bytes each tenant has stored. Reads every record: for the start of the service."""
        return await in_thread(partial(_sizes, self._root))


def _write(path: Path, record: ArtifactRecord) -> None:
    make_private_directory(path.parent)
    draft = draft_of(path)
    try:
        write_private(draft, record.model_dump_json().encode())
        expiry = record.expires_at.timestamp()
        os.utime(draft, (expiry, expiry))
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


def _delete(root: Path, artifact_id: str) -> bool:
    """The mark last: without it a revoked link would hold as long as there is a record."""
    try:
        place(root, artifact_id, _SUFFIX).unlink()
    except FileNotFoundError:
        return False
    place(root, artifact_id, LINKS_SUFFIX).unlink(missing_ok=True)
    return True


def _sizes(root: Path) -> dict[str, int]:
    sizes: Counter[str] = Counter()
    for shard in _entries(root):
        if shard.is_dir(follow_symlinks=False):
            paths = (Path(entry.path) for entry in _entries(shard.path))
            for record in (_read(path) for path in paths if path.suffix == _SUFFIX):
                if record is not None:
                    sizes[record.tenant] += record.size
    return dict(sizes)


def _read(path: Path) -> ArtifactRecord | None:
    try:
        return ArtifactRecord.model_validate_json(path.read_bytes())
    except (FileNotFoundError, ValidationError):
        return None


def _due(root: Path, before: datetime, limit: int) -> list[ArtifactRecord]:
    """The oldest records among the expired. What has expired and holds no record is removed."""
    found = []
    for _, path in nsmallest(limit, _expired(root, before.timestamp())):
        record = _read(path)
        if record is None:
            path.unlink(missing_ok=True)
        elif record.expires_at < before:
            found.append(record)
    return found


def _expired(root: Path, before_s: float) -> Iterator[tuple[float, Path]]:
    for shard in _entries(root):
        if shard.is_dir(follow_symlinks=False):
            yield from _expired_in(shard.path, before_s)


def _expired_in(shard: str, before_s: float) -> Iterator[tuple[float, Path]]:
    for entry in _entries(shard):
        if not entry.name.endswith(_SUFFIX):
            continue
        try:
            expiry_s = entry.stat(follow_symlinks=False).st_mtime
        except FileNotFoundError:
            continue
        if expiry_s < before_s:
            yield expiry_s, Path(entry.path)


def _entries(folder: Path | str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except FileNotFoundError:
        return []
