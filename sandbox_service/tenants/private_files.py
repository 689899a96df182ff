"""Files that only the service's user may read, whoever of the operators makes them."""

import os
from pathlib import Path


def open_private(path: Path, flags: int) -> int:
    """A descriptor of the file, made with mode 0600 when it is missing.

    Made by root, it belongs to the owner of its directory: the service need not run as root.
    """
    handle = os.open(path, flags | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    if os.geteuid() == 0:
        about = os.stat(path.parent)
        os.fchown(handle, about.st_uid, about.st_gid)
    return handle


def make_private_directory(path: Path) -> None:
    """The directory, made with mode 0700 when it is missing, owned as its parent is."""
    if path.is_dir():
        return
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    if os.geteuid() == 0:
        about = os.stat(path.parent)
        os.chown(path, about.st_uid, about.st_gid)
