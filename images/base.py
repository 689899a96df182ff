"""The base image: what the engine has, what a registry gives, or Debian's own bootstrap."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import docker
import docker.errors
import docker.utils
import requests

from deploy.setup.apt import install_packages
from images.progress import Progress

OFFICIAL = "debian:trixie-slim"
BOOTSTRAPPED = "sandbox-base:trixie"
REGISTRY_SILENCE_S = 15


class NoBase(Exception):
    """No base image can be had; the message is one sentence for the person at the terminal."""


def ensure_base(engine: docker.APIClient, progress: Progress) -> str:
    """The name of a Debian trixie image that the engine has, fetched or made if need be. Raises NoBase, StepFailed."""
    for name in (OFFICIAL, BOOTSTRAPPED):
        if engine.images(name=name, quiet=True):
            return name
    progress.heading(f"Pulling {OFFICIAL}")
    if _pulled():
        return OFFICIAL
    progress.heading("No registry answers; bootstrapping Debian trixie from its package mirror")
    _bootstrap(engine, progress)
    return BOOTSTRAPPED


def _pulled() -> bool:
    """Pull the official image; a registry that stays silent for some seconds counts as none."""
    repository, _, tag = OFFICIAL.partition(":")
    try:
        engine = docker.APIClient(
            **docker.utils.kwargs_from_env(), version="auto", timeout=REGISTRY_SILENCE_S
        )
        for event in engine.pull(repository, tag=tag, stream=True, decode=True):
            if "error" in event:
                return False
    except (docker.errors.DockerException, requests.RequestException):
        return False
    return True


def _bootstrap(engine: docker.APIClient, progress: Progress) -> None:
    if os.geteuid() != 0:
        raise NoBase(
            f"The base image {OFFICIAL} cannot be pulled, and bootstrapping it needs root: "
            "run this once as root, or load the image into the engine by hand."
        )
    _ensure_debootstrap(progress)
    with tempfile.TemporaryDirectory(prefix="sandbox-base-") as folder:
        _debootstrap(Path(folder) / "root", progress)
        _import(engine, Path(folder) / "root")


def _ensure_debootstrap(progress: Progress) -> None:
    if shutil.which("debootstrap"):
        return
    if not shutil.which("apt-get"):
        raise NoBase(
            f"The base image {OFFICIAL} cannot be pulled, and there is no debootstrap here: "
            "load the image into the engine by hand."
        )
    install_packages(progress, "debootstrap", "debian-archive-keyring")


def _debootstrap(root: Path, progress: Progress) -> None:
    command = ["debootstrap", "--variant=minbase", "trixie", str(root), *_mirror()]
    if not Path("/usr/share/debootstrap/scripts/trixie").exists():
        mirror = _mirror() or [""]
        command[4:] = [*mirror, "/usr/share/debootstrap/scripts/sid"]
    progress.run(command)
    shutil.rmtree(root / "var/cache/apt/archives", ignore_errors=True)


def _mirror() -> list[str]:
    """The package mirror that a Debian host itself uses; elsewhere debootstrap knows one."""
    shown = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Origin: Debian", "Component: main"],
        capture_output=True,
        text=True,
        check=False,
    )
    mirrors = [uri for uri in shown.stdout.split() if uri.startswith(("http:", "https:"))]
    return mirrors[:1]


def _import(engine: docker.APIClient, root: Path) -> None:
    repository, _, tag = BOOTSTRAPPED.partition(":")
    with subprocess.Popen(["tar", "-C", root, "-c", "."], stdout=subprocess.PIPE) as tar:
        engine.import_image(src=tar.stdout, repository=repository, tag=tag, stream_src=True)
    if tar.returncode != 0:
        raise NoBase("The bootstrapped base image could not be packed.")
