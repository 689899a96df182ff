"""Makes sure that the Docker engine has gVisor's runtime `runsc`, set up as our sandboxes need it.

Does nothing if it has. Otherwise installs Debian's package, from backports where the release's own
is too old, adds the runtime to the engine's configuration and has the engine read it again, which
disturbs no container. Runs before there is a virtual environment: standard library only.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from deploy.setup.apt import install_packages, update_lists
from deploy.setup.engine_line import ask, engine_host
from images.progress import Progress, StepFailed

CONFIGURATION = Path("/etc/docker/daemon.json")
PID_FILES = [Path("/run/docker.pid"), Path("/var/run/docker.pid")]
BACKPORTS = Path("/etc/apt/sources.list.d/sandbox-service-backports.sources")
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
OLDEST = "0.0~20240729"
# No network stack but loopback; the agent may make its socket in the control directory, and
# nothing inside may connect to a socket of the host; our system call filter holds inside too.
RUNTIME_ARGUMENTS = ["--network=none", "--host-uds=create", "--oci-seccomp"]
RELOAD_S = 15


class NoRunsc(Exception):
    """gVisor cannot be had; the message is one sentence for the person at the terminal."""


def main() -> int:
    try:
        ensure_runsc()
    except (NoRunsc, StepFailed, subprocess.CalledProcessError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def ensure_runsc() -> None:
    """Return once the engine runs `runsc` with our arguments. Raises NoRunsc, StepFailed."""
    if has_runtime():
        return
    if os.geteuid() != 0:
        raise NoRunsc("Installing gVisor needs root: run `make runsc` as root.")
    path = shutil.which("runsc") or install()
    configure(path)
    reload_engine()
    print("The Docker engine has the runtime runsc.")


def has_runtime() -> bool:
    """Whether the engine knows the runtime now, with our arguments."""
    info = json.loads(ask(engine_host(), "/info") or b"{}")
    return is_registered(info)


def is_registered(info: dict[str, Any]) -> bool:
    """The same, in what an engine says of itself."""
    runtimes = info.get("Runtimes") or {}
    return bool(runtimes.get("runsc", {}).get("runtimeArgs") == RUNTIME_ARGUMENTS)


def read_configuration() -> dict[str, dict[str, dict[str, object]]]:
    if not CONFIGURATION.exists():
        return {}
    try:
        return dict(json.loads(CONFIGURATION.read_text() or "{}"))
    except ValueError:
        raise NoRunsc(f"{CONFIGURATION} is not JSON; mend it first.") from None


def install() -> str:
    """The path of runsc, from the distribution's packages."""
    if not shutil.which("apt-get"):
        raise NoRunsc("runsc is not installed, and this machine has no apt to install it with.")
    with Progress("Installing gVisor", "runsc") as progress:
        update_lists(progress)
        if not is_recent(candidate()) and not is_recent(from_backports(progress)):
            raise NoRunsc(f"No runsc of {OLDEST} or newer is among this machine's packages.")
        install_packages(progress, *preference(), "runsc", update=False)
    return shutil.which("runsc") or "/usr/bin/runsc"


def candidate(*options: str) -> str:
    """The version that apt would install; empty when there is none."""
    said = output("apt-cache", *options, "policy", "runsc")
    versions = [line.split()[1] for line in said.splitlines() if "Candidate:" in line]
    return versions[0] if versions and versions[0] != "(none)" else ""


def is_recent(version: str) -> bool:
    compared = ["dpkg", "--compare-versions", version, "ge", OLDEST]
    return bool(version) and subprocess.run(compared, check=False).returncode == 0


def from_backports(progress: Progress) -> str:
    """The version in Debian's backports, which are added beside the sources that are there."""
    release = codename()
    if release_id() != "debian":
        return ""
    if f"{release}-backports" not in output("apt-get", "indextargets", *index_format()):
        BACKPORTS.write_text(backports_source(release))
        update_lists(progress)
    return candidate("-t", f"{release}-backports")


def backports_source(release: str) -> str:
    """A source for backports on the mirror that the release itself comes from."""
    rows = (row.split() for row in output("apt-get", "indextargets", *index_format()).splitlines())
    mirrors = [row[0] for row in rows if len(row) == 2 and row[1] == release]
    if not mirrors:
        raise NoRunsc("This machine's packages name no mirror of its Debian release.")
    lines = ["Types: deb", f"URIs: {mirrors[0]}", f"Suites: {release}-backports"]
    signed = [f"Signed-By: {KEYRING}"] if Path(KEYRING).exists() else []
    return "\n".join([*lines, "Components: main", *signed, ""])


def index_format() -> list[str]:
    return ["--format", "$(REPO_URI) $(RELEASE)", "Created-By: Packages"]


def preference() -> list[str]:
    return ["-t", f"{codename()}-backports"] if BACKPORTS.exists() else []


def codename() -> str:
    return os_release().get("VERSION_CODENAME", "")


def release_id() -> str:
    return os_release().get("ID", "")


def os_release() -> dict[str, str]:
    pairs = (line.partition("=") for line in Path("/etc/os-release").read_text().splitlines())
    return {name: value.strip('"') for name, _, value in pairs}


def configure(path: str) -> None:
    """Add the runtime to the engine's configuration; all else in it stays."""
    configuration = read_configuration()
    runtimes = configuration.setdefault("runtimes", {})
    runtimes["runsc"] = {"path": path, "runtimeArgs": RUNTIME_ARGUMENTS}
    CONFIGURATION.parent.mkdir(parents=True, exist_ok=True)
    beside = CONFIGURATION.with_suffix(".new")
    beside.write_text(json.dumps(configuration, indent=2) + "\n")
    beside.replace(CONFIGURATION)


def reload_engine() -> None:
    """Have the engine read its configuration again; its containers run on."""
    if Path("/run/systemd/system").exists():
        subprocess.run(["systemctl", "reload", "docker"], check=True)
    else:
        os.kill(engine_pid(), signal.SIGHUP)
    deadline = time.monotonic() + RELOAD_S
    while not has_runtime():
        if time.monotonic() > deadline:
            raise NoRunsc("The Docker engine did not take up the runtime; restart it.")
        time.sleep(0.2)


def engine_pid() -> int:
    for file in PID_FILES:
        if file.exists():
            return int(file.read_text())
    raise NoRunsc("No Docker engine runs on this machine: run `make engine` first.")


def output(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


if __name__ == "__main__":
    sys.exit(main())
