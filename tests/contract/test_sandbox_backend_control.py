"""The control directory: what the sandbox may do in it, and until when."""

import os
import socket
import stat
from pathlib import Path

import pytest

from sandbox_service.backends import control_directory
from sandbox_service.domain.errors import AgentViolation


@pytest.fixture
def directory(short_dir: Path) -> Path:
    path = short_dir / "root" / "box_1"
    control_directory.make(path)
    return path


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def listen(directory: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(directory / "agent.sock"))


def test_no_other_user_of_the_host_gets_in(directory: Path) -> None:
    """The sandbox may write in its own directory; the one above is closed."""
    assert (mode_of(directory.parent), mode_of(directory)) == (0o700, 0o733)


def test_a_sealed_directory_keeps_a_socket(directory: Path) -> None:
    """After the seal others may pass, and no more."""
    listen(directory)
    control_directory.seal(directory, os.getuid())
    assert mode_of(directory) == 0o711


@pytest.mark.parametrize("fake", ["nothing", "link", "file", "directory", "other_owner"])
def test_a_seal_over_anything_but_the_sandboxs_socket_is_refused(
    directory: Path, fake: str
) -> None:
    """A link to a socket elsewhere would lead the service there."""
    place = directory / "agent.sock"
    listen(directory)
    uid = os.getuid() + (fake == "other_owner")
    if fake != "other_owner":
        place.rename(directory / "real.sock")
    if fake == "link":
        place.symlink_to(directory / "real.sock")
    elif fake == "file":
        place.touch()
    elif fake == "directory":
        place.mkdir()
    with pytest.raises(AgentViolation):
        control_directory.seal(directory, uid)
    assert mode_of(directory) == 0o711


def test_a_removal_does_not_follow_links(directory: Path, short_dir: Path) -> None:
    """What a link in the directory leads to stays."""
    kept = short_dir / "kept"
    kept.mkdir()
    (kept / "file").touch()
    (directory / "link").symlink_to(kept)
    control_directory.remove(directory)
    control_directory.remove(directory)
    assert not directory.exists()
    assert (kept / "file").exists()


def test_a_path_too_long_for_a_socket_is_said_so(short_dir: Path) -> None:
    """Before anything is started."""
    with pytest.raises(ValueError, match="shorter runtime directory"):
        control_directory.require_short(short_dir / ("x" * 90))
