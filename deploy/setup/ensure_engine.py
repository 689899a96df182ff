"""Makes sure that a Docker engine answers: does nothing if one does, else installs and starts it.

Runs before there is a virtual environment, so it uses the standard library only.
"""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from deploy.setup.apt import install_packages
from deploy.setup.engine_line import DEFAULT, ask, can_ask, engine_host
from images.progress import Progress, StepFailed

SOCKET = DEFAULT.removeprefix("unix://")
LOG = Path("/var/log/dockerd.log")
START_S = 60


class NoEngine(Exception):
    """No engine can be had; the message is one sentence for the person at the terminal."""


def main() -> int:
    try:
        ensure_engine()
    except (NoEngine, StepFailed, subprocess.CalledProcessError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def ensure_engine() -> None:
    """Return once an engine answers. Raises NoEngine, StepFailed."""
    host = engine_host()
    if is_answering(host):
        return
    if os.environ.get("DOCKER_HOST"):
        raise NoEngine(f"The engine that DOCKER_HOST names does not answer: {host}")
    if os.geteuid() != 0:
        raise NoEngine(why_not_for_us())
    if not shutil.which("dockerd"):
        install()
    daemon = None if waited_for(host, 2) else start()
    if not waited_for(host, START_S, daemon):
        raise NoEngine(f"The Docker engine did not come up; the end of its log says:\n{log_end()}")
    print("The Docker engine answers.")


def is_answering(host: str) -> bool:
    """Whether an engine answers there; one that is not on a plain socket is taken on trust."""
    if can_ask(host):
        return ask(host, "/_ping") is not None
    return host.partition("://")[0] in ("tcp", "ssh", "http", "https")


def why_not_for_us() -> str:
    if Path(SOCKET).exists() and not os.access(SOCKET, os.W_OK):
        return (
            "The Docker engine's socket is not open to this user: "
            "join the group `docker`, or run this as root."
        )
    return "No Docker engine answers, and installing one needs root: run `make engine` as root."


def install() -> None:
    """Debian's or Ubuntu's own engine, with the least that makes it work."""
    if not shutil.which("apt-get"):
        raise NoEngine("No Docker engine answers; install one, this machine has no apt to do it.")
    with Progress("Installing a Docker engine", "engine") as progress:
        packages = ["docker.io", "iptables", "ca-certificates", *extra_packages()]
        install_packages(progress, *packages)


def extra_packages() -> list[str]:
    """What the engine needs on this machine only."""
    packages = []
    if kernel_has_apparmor():
        packages.append("apparmor")
    if not has_cgroups():
        packages.append("cgroupfs-mount")
    return packages


def kernel_has_apparmor() -> bool:
    enabled = Path("/sys/module/apparmor/parameters/enabled")
    return enabled.exists() and enabled.read_text().strip() == "Y"


def has_cgroups() -> bool:
    root = Path("/sys/fs/cgroup")
    return (root / "cgroup.controllers").exists() or (root / "memory").exists()


def start() -> "subprocess.Popen[bytes] | None":
    """Through systemd where it runs, otherwise the daemon itself, in the background with a log."""
    print("Starting the Docker engine", flush=True)
    if Path("/run/systemd/system").exists():
        subprocess.run(["systemctl", "enable", "--now", "docker"], check=True)
        return None
    if not has_cgroups():
        subprocess.run(["cgroupfs-mount"], check=True)
    with LOG.open("ab") as log:
        return subprocess.Popen(
            ["dockerd"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/",
            start_new_session=True,
        )


def waited_for(host: str, seconds: float, daemon: "subprocess.Popen[bytes] | None" = None) -> bool:
    """Whether the engine answers within so many seconds; a daemon that has ended never will."""
    deadline = time.monotonic() + seconds
    while not is_answering(host):
        if time.monotonic() > deadline or (daemon and daemon.poll() is not None):
            return False
        time.sleep(0.3)
    return True


def log_end() -> str:
    if not LOG.exists():
        return "  (see `journalctl -u docker`)"
    return "\n".join("  " + line[:200] for line in LOG.read_text().splitlines()[-5:])


if __name__ == "__main__":
    sys.exit(main())
