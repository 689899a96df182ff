"""Files that only the service's user may read, whoever of the operators makes them."""

import os
from pathlib import Path

from sandbox_service.durable_files import sync


def open_private(path: Path | str, flags: int) -> int:
    """A descriptor of the file, made with mode 0600 when it is missing. An opener for `open` as well.

    Made by root, it belongs to the owner of its directory: the service need not run as root.
    """
    handle = os.open(path, flags | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    if os.geteuid() == 0:
        about = os.stat(os.path.dirname(path) or ".")
        os.fchown(handle, about.st_uid, about.st_gid)
    return handle


def write_private(path: Path, content: bytes) -> None:
    """The whole file."""
    with open(path, "wb", opener=open_private) as file:
        file.write(content)


def make_private_directory(path: Path) -> None:
    """The directory and those above it, each made with mode 0700 when it is missing, owned as its parent is."""
    if path.is_dir():
        return
    make_private_directory(path.parent)
    path.mkdir(mode=0o700, exist_ok=True)
    sync(path.parent)
    if os.geteuid() == 0:
        about = os.stat(path.parent)
        os.chown(path, about.st_uid, about.st_gid)


def take_private_directory(path: Path) -> None:
    """The directory with mode 0700, also one that others were let into before."""
    make_private_directory(path)
    if path.stat().st_mode & 0o077:
        path.chmod(0o700)
