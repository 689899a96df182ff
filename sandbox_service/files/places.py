"""Where in a directory a key's files are: in 256 folders, written beside and renamed."""

import hashlib
import os
import re
from pathlib import Path

DRAFT_SUFFIX = ".draft"
LINKS_SUFFIX = ".links"
_KEY = re.compile(r"[A-Za-z0-9_-]{1,128}")


def is_key(key: str) -> bool:
    """True for a plain word, which is the same on every file system."""
    return _KEY.fullmatch(key) is not None


def place(root: Path, key: str, suffix: str = "") -> Path:
    """The file that belongs to `key`. Raises ValueError when it is no key."""
    if not is_key(key):
        raise ValueError(f"{key!r} is no key")
    return root / hashlib.sha256(key.encode()).hexdigest()[:2] / f"{key}{suffix}"


def draft_of(path: Path) -> Path:
    """A fresh name beside `path`, to write to before renaming."""
    return path.with_name(f"{path.name}.{os.urandom(6).hex()}{DRAFT_SUFFIX}")
