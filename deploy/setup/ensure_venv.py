"""Makes the tools' virtual environment what the lock says: nothing is resolved, each file is checked by its hash.

Does nothing if it is. uv takes seconds; where it cannot be had, pip does the same in some minutes.
Runs on the machine's own Python: standard library only.
"""

import hashlib
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from deploy.setup.pip_settings import uv_environment
from images.progress import Progress, StepFailed

ROOT = Path(__file__).parents[2]
VENV = ROOT / ".venv"
READY = VENV / ".ready"
PROJECT = ROOT / "pyproject.toml"
LOCKS = ROOT / "deploy" / "locks"
LOCK = LOCKS / "dev.txt"
UV_LOCK = LOCKS / "uv.txt"
AS_LOCKED = ("--no-deps", "--require-hashes")
TOLD = r"Collecting [^ ]+|Downloading \S+ \(.*iB\)|Installed .*"  # of pip, of uv, of both


def main() -> int:
    try:
        ensure_venv()
    except StepFailed as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def ensure_venv() -> None:
    """Return once it is as locked, with this project in it. Raises StepFailed."""
    if is_usable(VENV) and is_as_locked():
        READY.touch()
        return
    with Progress("Making the virtual environment", "venv", TOLD) as progress:
        if not is_usable(VENV):
            progress.run([sys.executable, "-m", "venv", "--clear", VENV])
        install(VENV, LOCK, progress)
        own = ["--no-index", "--no-deps", "--no-build-isolation", "-e", str(ROOT)]
        progress.run([*pip(VENV), *own])
    READY.write_text(wanted())


def is_usable(venv: Path) -> bool:
    """Whether its Python runs and has a pip."""
    try:
        done = subprocess.run([python(venv), "-c", "import pip"], capture_output=True, check=False)
    except OSError:
        return False
    return done.returncode == 0


def is_as_locked() -> bool:
    """Whether it was made from the lock and the project file of now."""
    return READY.exists() and READY.read_text() == wanted()


def wanted() -> str:
    """What the environment is made from, as a digest."""
    return hashlib.sha256(LOCK.read_bytes() + PROJECT.read_bytes()).hexdigest()


def install(
    venv: Path, lock: Path, progress: Progress, environ: Mapping[str, str] = os.environ
) -> None:
    """Install the lock as it stands. Raises StepFailed when neither uv nor pip can."""
    try:
        progress.run([*pip(venv), *AS_LOCKED, "-r", str(UV_LOCK)], environ)
        by_uv(venv / "bin" / "uv", venv, lock, progress, environ)
    except StepFailed:
        progress.heading("  uv cannot do it here; pip takes some minutes")
        progress.run([*pip(venv), *AS_LOCKED, "-r", str(lock)], environ)


def by_uv(uv: Path, venv: Path, lock: Path, progress: Progress, environ: Mapping[str, str]) -> None:
    """Install the lock, and remove what is not in it."""
    command = [str(uv), "pip", "sync", "--python", str(python(venv)), "--require-hashes", str(lock)]
    progress.run(command, uv_environment(python(venv), environ))


def python(venv: Path) -> Path:
    return venv / "bin" / "python"


def pip(venv: Path) -> list[str]:
    """pip's installation, without advice and questions."""
    quiet = ["--disable-pip-version-check", "--no-input", "--progress-bar", "off"]
    return [str(python(venv)), "-m", "pip", "install", *quiet]


if __name__ == "__main__":
    sys.exit(main())
