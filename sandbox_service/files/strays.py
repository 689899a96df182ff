"""What a service that was killed left behind in the directory of blobs and records."""

import os
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from sandbox_service.files.catalog import SqliteArtifactCatalog
from sandbox_service.files.places import LINKS_SUFFIX, is_key
from sandbox_service.files.threads import in_thread

GRACE_S = 3600.0


async def remove_strays(
    root: Path, catalog: SqliteArtifactCatalog, grace_s: float = GRACE_S
) -> int:
    """Remove what has no record and is older than `grace_s`, folder by folder; returns how many files.

    For the root of a DirectoryBlobStore whose records are in `catalog`. Besides blobs these are drafts and
    the marks of links.
    """
    before_s = time.time() - grace_s
    removed = 0
    for shard in await in_thread(lambda: [path for path in root.glob("??") if path.is_dir()]):
        names = await in_thread(partial(os.listdir, shard))
        known = await catalog.known([key for key in map(_key_of, names) if is_key(key)])
        strays = [name for name in names if _key_of(name) not in known]
        removed += await in_thread(partial(_remove_old, shard, strays, before_s))
    return removed


def _key_of(name: str) -> str:
    """A draft's is one that no record has."""
    return name if name.count(".") > 1 else name.removesuffix(LINKS_SUFFIX)


def _remove_old(shard: Path, names: Sequence[str], before_s: float) -> int:
    return sum(_remove_if_old(shard / name, before_s) for name in names)


def _remove_if_old(path: Path, before_s: float) -> bool:
    try:
        if path.stat(follow_symlinks=False).st_mtime >= before_s:
            return False
        path.unlink()
    except FileNotFoundError:
        return False
    return True
