"""The installers, and what they are told."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.fake_index import FakeIndex, read_lock

# The oldest that Ubuntu 22.04 and Debian 12 make environments with, and the newest when this was written.
PIPS = {
    "22.0.2": "682eabc4716bfce606aca8dab488e9c7b58b0737e9001004eb858cdafcd8dbdd",
    "23.0.1": "236bcb61156d76c4b8a05821b988c7b8c35bf0da28a4b614e8d6ab5212c25c6f",
    "26.3": "f3b60b20ffaadd4415ed7957212a38ac63fa4c5fa375bd0f4a797777940fad13",
}
*OLD, NEWEST = PIPS
FETCH_S = 60


def fetched(version: str, folder: Path) -> Path:
    """A folder that makes `python -m pip` that version; skips where it cannot be fetched, or run."""
    if version in OLD and sys.version_info >= (3, 12):
        pytest.skip(f"pip {version} runs on Python 3.11 at most")
    (folder / "pip.txt").write_text(f"pip=={version} --hash=sha256:{PIPS[version]}\n")
    command = [our_uv(), "pip", "install", "--quiet", "--no-deps", "--require-hashes"]
    command += ["--python", sys.executable, "--target", folder / "pip", "-r", folder / "pip.txt"]
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=FETCH_S)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
        pytest.skip(f"pip {version} cannot be fetched here")
    return folder / "pip"


def our_uv() -> Path:
    return Path(sys.executable).parent / "uv"


def settings(index: FakeIndex, pip: Path | None = None) -> dict[str, str]:
    """The environment of an installer that knows this index only."""
    usual = {key: value for key, value in os.environ.items() if not key.startswith(("PIP_", "UV_"))}
    own = {"PIP_INDEX_URL": index.url, "UV_DEFAULT_INDEX": index.url, "PIP_CONFIG_FILE": os.devnull}
    uncached = {"PIP_NO_CACHE_DIR": "1", "UV_NO_CACHE": "1"}
    return {**usual, **own, **uncached, **({"PYTHONPATH": str(pip)} if pip else {})}


def wanted(lock: Path) -> set[tuple[str, str]]:
    """Name and version of what a lock has for this Python."""
    return {(pin.name, pin.version) for pin in read_lock(lock) if pin.is_for_us}
