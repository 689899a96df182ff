"""What is really there: sandboxes as the engine has them, control directories, and what a process uses."""

import asyncio
import json
import os
import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import httpx

from sandbox_service.backends import local_process
from tests.support.cluster import Cluster
from tests.support.engine_api import EngineApi

INSTANCE = "sandbox-service.instance"
SANDBOX = "sandbox-service.sandbox"
UID = "sandbox-service.uid"
SESSION = "sandbox-service.label.session"


@dataclass(frozen=True, slots=True)
class SeenSandbox:
    """`session` is empty for one that was made for a pool."""

    sandbox_id: str
    engine_id: str
    session: str
    uid: int | None
    is_live: bool


class Reality(Protocol):
    """The sandboxes of one cluster, seen without asking the service."""

    async def sandboxes(self) -> Sequence[SeenSandbox]: ...

    def control_directories(self) -> list[str]: ...

    async def remove_all(self) -> None:
        """Clean up whatever a failed test has left."""
        ...


def reality_of(cluster: Cluster) -> Reality:
    root = cluster.runtime_dir / cluster.instance
    if cluster.spec.backend == "unsafe_local":
        return LocalReality(root)
    return DockerReality(root, cluster.instance, cluster.spec.docker_url)


class DockerReality:
    """By the labels of the containers at the engine."""

    def __init__(self, root: Path, instance: str, docker_url: str | None) -> None:
        self.api = EngineApi(docker_url)
        self._root = root
        self._label = f"{INSTANCE}={instance}"

    async def sandboxes(self) -> Sequence[SeenSandbox]:
        """Raises httpx.HTTPError when the engine does not answer."""
        return [_seen(container) for container in await self.api.containers(self._label)]

    def control_directories(self) -> list[str]:
        return _names(self._root)

    async def remove_all(self) -> None:
        with suppress(httpx.HTTPError):
            for seen in await self.sandboxes():
                await self.api.remove(seen.engine_id)


class LocalReality:
    """By the directories and processes of the unsafe backend."""

    def __init__(self, root: Path) -> None:
        self._root = root

    async def sandboxes(self) -> Sequence[SeenSandbox]:
        return await asyncio.to_thread(self._list)

    def _list(self) -> list[SeenSandbox]:
        return [self._one(name) for name in _names(self._root)]

    def _one(self, name: str) -> SeenSandbox:
        try:
            labels = json.loads((self._root / name / "labels.json").read_bytes())
        except (OSError, ValueError):
            labels = {}
        is_live = bool(local_process.pids_of(name))
        return SeenSandbox(name, name, labels.get("session", ""), None, is_live)

    def control_directories(self) -> list[str]:
        return _names(self._root)

    async def remove_all(self) -> None:
        for name in _names(self._root):
            await local_process.end_all(name)
            await asyncio.to_thread(shutil.rmtree, self._root / name, True)


def _seen(container: dict) -> SeenSandbox:
    labels = container["Labels"]
    return SeenSandbox(
        sandbox_id=labels[SANDBOX],
        engine_id=container["Id"],
        session=labels.get(SESSION, ""),
        uid=int(labels[UID]),
        is_live=container["State"] in ("running", "paused", "restarting"),
    )


def _names(root: Path) -> list[str]:
    try:
        return sorted(entry.name for entry in root.iterdir() if entry.is_dir())
    except FileNotFoundError:
        return []


@dataclass(frozen=True, slots=True)
class Use:
    """What one process uses."""

    resident_bytes: int
    descriptors: int
    threads: int


def use_of(pid: int) -> Use:
    status = Path(f"/proc/{pid}/status").read_text()
    fields = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
    return Use(
        resident_bytes=int(fields["VmRSS"].split()[0]) * 1024,
        descriptors=len(os.listdir(f"/proc/{pid}/fd")),
        threads=int(fields["Threads"]),
    )
