"""What a service that was killed left behind in the directory of blobs and records."""

import os
import time
from functools import partial
from pathlib import Path

from sandbox_service.files.places import DRAFT_SUFFIX, LINKS_SUFFIX
from sandbox_service.files.threads import in_thread

GRACE_S = 3600.0


async def remove_strays(root: Path, grace_s: float = GRACE_S) -> int:
    """Remove drafts, and blobs and marks of links without a record, that are older than `grace_s`; returns how many.

    For a root that a DirectoryBlobStore shares with a DirectoryArtifactCatalog.
    """
    return await in_thread(partial(_remove, root, time.time() - grace_s))


def _remove(root: Path, before_s: float) -> int:
    shards = [path for path in root.glob("??") if path.is_dir()]
    return sum(_remove_in(shard, before_s) for shard in shards)


def _remove_in(shard: Path, before_s: float) -> int:
    with os.scandir(shard) as entries:
        names = {entry.name: entry for entry in entries}
    strays = [entry for name, entry in names.items() if _is_stray(name, names)]
    old = [entry for entry in strays if _mtime(entry) < before_s]
    for entry in old:
        Path(entry.path).unlink(missing_ok=True)
    return len(old)


def _is_stray(name: str, names: dict[str, os.DirEntry[str]]) -> bool:
    if name.endswith(DRAFT_SUFFIX):
        return True
    name = name.removesuffix(LINKS_SUFFIX)
    return "." not in name and f"{name}.json" not in names


def _mtime(entry: os.DirEntry[str]) -> float:
    try:
        return entry.stat(follow_symlinks=False).st_mtime
    except FileNotFoundError:
        return float("inf")
