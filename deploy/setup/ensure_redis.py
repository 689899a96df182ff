"""Makes sure that there is a redis-server to start: does nothing if there is, else installs Debian's.

Only the program: none is left running, now or after the next boot. Tests start their own, and operators
name theirs in SANDBOX_REDIS_URL. Runs before there is a virtual environment: standard library only.
"""

import contextlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from deploy.setup.apt import install_packages
from images.progress import Progress, StepFailed

OLDEST = 7
POLICY = Path("/usr/sbin/policy-rc.d")
POLICY_TEXT = "#!/bin/sh\nexit 101\n"


class NoRedis(Exception):
    """No redis-server can be had; the message is one sentence for the person at the terminal."""


def main() -> int:
    try:
        ensure_redis()
    except (NoRedis, StepFailed, subprocess.CalledProcessError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def ensure_redis() -> None:
    """Return once there is one. Raises NoRedis, StepFailed."""
    if not shutil.which("redis-server"):
        install()
    version = version_of("redis-server")
    if version < OLDEST:
        raise NoRedis(f"redis-server is version {version}; {OLDEST} or newer is needed.")


def version_of(program: str) -> int:
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
    found = re.search(r"v=(\d+)", said.stdout)
    return int(found[1]) if found else 0


def install() -> None:
    """Debian's or Ubuntu's own. Its package would start one on port 6379."""
    if os.geteuid() != 0:
        raise NoRedis(
            "There is no redis-server, and installing it needs root: run `make redis` as root."
        )
    if not shutil.which("apt-get"):
        raise NoRedis("There is no redis-server; install one, this machine has no apt to do it.")
    with no_service_starts(), Progress("Installing redis-server", "redis") as progress:
        install_packages(progress, "redis-server")
    if Path("/run/systemd/system").exists():
        subprocess.run(["systemctl", "disable", "--quiet", "redis-server"], check=True)


@contextlib.contextmanager
def no_service_starts() -> Iterator[None]:
    """Packages ask this script before they start anything; one that is there already is left as it is."""
    is_ours = not POLICY.exists()
    if is_ours:
        POLICY.write_text(POLICY_TEXT)
        POLICY.chmod(0o755)
    try:
        yield
    finally:
        if is_ours:
            POLICY.unlink()


if __name__ == "__main__":
    sys.exit(main())
