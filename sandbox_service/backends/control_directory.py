"""The small directory through which a sandbox's agent offers its socket to the host.

The agent may create its socket while the directory is open (0733). Once sealed (0711), before any
user code runs, nothing inside the sandbox can change what the host's path leads to.
"""

import os
import shutil
import stat
from contextlib import suppress
from pathlib import Path

from sandbox_service.domain.errors import AgentViolation

SOCKET_NAME = "agent.sock"
OPEN_MODE = 0o733
SEALED_MODE = 0o711
LONGEST_SOCKET_PATH = 107
EXAMPLE_ID = "box_" + 24 * "0"


def make_root(root: Path) -> None:
    """Make the directory above all control directories; no other user of the host gets in."""
    root.mkdir(parents=True, exist_ok=True)
    root.chmod(0o700)


def remove_root(root: Path) -> None:
    """Remove the directory above all control directories, if none is left in it."""
    with suppress(OSError):
        root.rmdir()


def require_short(root: Path) -> None:
    """Raise ValueError when the sockets below `root` would have too long a path."""
    socket_path(root / EXAMPLE_ID)


def names_in(root: Path) -> list[str]:
    """The names of the control directories there are."""
    if not root.exists():
        return []
    return [entry.name for entry in root.iterdir() if entry.is_dir()]


def make(directory: Path) -> None:
    """Make a control directory, open for the sandbox's socket."""
    make_root(directory.parent)
    directory.mkdir()
    directory.chmod(OPEN_MODE)


def socket_path(directory: Path) -> str:
    """Where the agent's socket will be. Raises ValueError when that is too long for a socket."""
    path = str(directory / SOCKET_NAME)
    if len(os.fsencode(path)) > LONGEST_SOCKET_PATH:
        raise ValueError(f"{path} is too long for a socket; choose a shorter runtime directory")
    return path


def has_entry(directory: Path) -> bool:
    return os.path.lexists(directory / SOCKET_NAME)


def seal(directory: Path, uid: int | None) -> None:
    """Take the sandbox's write permission away, then see that its socket is what it must be."""
    directory.chmod(SEALED_MODE)
    try:
        status = os.lstat(directory / SOCKET_NAME)
    except FileNotFoundError:
        raise AgentViolation("The sandbox took its agent's socket away.") from None
    if not stat.S_ISSOCK(status.st_mode) or (uid is not None and status.st_uid != uid):
        raise AgentViolation("The sandbox put something else where its agent's socket must be.")


def remove(directory: Path) -> None:
    """Remove the directory with all that is in it. Idempotent."""
    shutil.rmtree(directory, ignore_errors=True)
