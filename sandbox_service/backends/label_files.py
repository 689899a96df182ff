"""Labels that a sandbox got while it ran, beside its control directory: an engine's own cannot change then."""

import os
from collections.abc import Mapping
from pathlib import Path

import orjson

SUFFIX = ".labels"


def write(root: Path, sandbox_id: str, labels: Mapping[str, str]) -> None:
    """Keep `labels`, all or nothing, in place of those written before."""
    path = _path(root, sandbox_id)
    fresh = path.with_suffix(".new")
    fresh.write_bytes(orjson.dumps(dict(labels)))
    os.replace(fresh, path)


def read(root: Path, sandbox_id: str) -> dict[str, str]:
    """The labels; none if there were none, or what there is cannot be read."""
    try:
        labels = orjson.loads(_path(root, sandbox_id).read_bytes())
    except (OSError, ValueError):
        return {}
    return {str(name): str(value) for name, value in labels.items()}


def remove(root: Path, sandbox_id: str) -> None:
    _path(root, sandbox_id).unlink(missing_ok=True)


def _path(root: Path, sandbox_id: str) -> Path:
    return root / f"{sandbox_id}{SUFFIX}"
