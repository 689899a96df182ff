"""The golden profile: what every sandbox container is made with, as data for the engine's API."""

import json
from dataclasses import dataclass
from functools import cache
from math import ceil
from pathlib import Path
from typing import Any

from sandbox_service.domain.values import MIB, Limits, SandboxSpec

INSTANCE_LABEL = "sandbox-service.instance"
SANDBOX_LABEL = "sandbox-service.sandbox"
UID_LABEL = "sandbox-service.uid"
GIVEN_LABEL_PREFIX = "sandbox-service.label."

CONTROL_TARGET = "/run/agent"
WORKSPACE = "/mnt/data"
HOME = "/home/sandbox"
TMP_BYTES = 256 * MIB
HOME_BYTES = 64 * MIB
SHM_BYTES = 64 * MIB
INODES = 100_000
OPEN_FILES = 8192
# Above what the service and its neighbours have, below what a kernel raises itself to.
OOM_SCORE_ADJ = 500
CPU_SHARES_PER_CPU = 1024

_SECCOMP_FILE = Path(__file__).with_name("seccomp.json")


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a sandbox goes: decided by the backend, once per sandbox."""

    instance: str
    uid: int
    control_dir: Path


def container_name(instance: str, sandbox_id: str) -> str:
    return f"sandbox-{instance}-{sandbox_id}"


def container_spec(spec: SandboxSpec, placement: Placement) -> dict[str, Any]:
    """The body of the engine's "create container" call."""
    return {
        "Image": spec.template.image,
        "User": f"{placement.uid}:{placement.uid}",
        "Hostname": "sandbox",
        "Env": _environment(spec.limits),
        "Labels": _labels(spec, placement),
        "Healthcheck": {"Test": ["NONE"]},
        "AttachStdin": False,
        "AttachStdout": False,
        "AttachStderr": False,
        "OpenStdin": False,
        "Tty": False,
        "HostConfig": _host_config(spec, placement),
    }


def resource_limits(limits: Limits) -> dict[str, Any]:
    """The part of the limits that the engine can change on a running container."""
    return {
        "Memory": limits.memory_bytes,
        "MemorySwap": limits.memory_bytes,
        "NanoCpus": int(limits.cpus * 1_000_000_000),
        "CpuShares": max(2, int(limits.cpus * CPU_SHARES_PER_CPU)),
        "PidsLimit": limits.pids,
    }


def given_labels(labels: dict[str, str]) -> dict[str, str]:
    """The labels of the sandbox's spec among all those of its container, the image's included."""
    prefix = GIVEN_LABEL_PREFIX
    return {key.removeprefix(prefix): labels[key] for key in labels if key.startswith(prefix)}


@cache
def seccomp_profile() -> str:
    """Our system call filter, as the engine takes it."""
    document = json.loads(_SECCOMP_FILE.read_text(encoding="utf-8"))
    return json.dumps(document["profile"], separators=(",", ":"))


def _host_config(spec: SandboxSpec, placement: Placement) -> dict[str, Any]:
    return {
        **resource_limits(spec.limits),
        "Runtime": spec.template.runtime,
        "NetworkMode": "none",
        "IpcMode": "private",
        "Privileged": False,
        "ReadonlyRootfs": True,
        "CapDrop": ["ALL"],
        "SecurityOpt": ["no-new-privileges:true", f"seccomp={seccomp_profile()}"],
        "Mounts": [_control_mount(placement.control_dir)],
        "Tmpfs": _tmpfs(spec.limits, placement.uid),
        "ShmSize": SHM_BYTES,
        "Ulimits": _ulimits(spec.limits),
        "OomScoreAdj": OOM_SCORE_ADJ,
        "LogConfig": {"Type": "none"},
        "Init": False,
        "AutoRemove": False,
        "RestartPolicy": {"Name": "no"},
    }


def _labels(spec: SandboxSpec, placement: Placement) -> dict[str, str]:
    return {
        **{GIVEN_LABEL_PREFIX + key: value for key, value in spec.labels.items()},
        INSTANCE_LABEL: placement.instance,
        SANDBOX_LABEL: spec.sandbox_id,
        UID_LABEL: str(placement.uid),
    }


def _environment(limits: Limits) -> list[str]:
    threads = ceil(limits.cpus)
    return [
        f"HOME={HOME}",
        f"OMP_NUM_THREADS={threads}",
        f"OPENBLAS_NUM_THREADS={threads}",
    ]


def _control_mount(control_dir: Path) -> dict[str, Any]:
    return {
        "Type": "bind",
        "Source": str(control_dir),
        "Target": CONTROL_TARGET,
        "BindOptions": {"Propagation": "rprivate"},
    }


def _tmpfs(limits: Limits, uid: int) -> dict[str, str]:
    sizes = {WORKSPACE: limits.workspace_bytes, "/tmp": TMP_BYTES, HOME: HOME_BYTES}  # noqa: S108
    # exec: a user's own libraries are loaded from here.
    options = f"nr_inodes={INODES},mode=0700,uid={uid},gid={uid},rw,nosuid,nodev,exec"
    return {path: f"size={size},{options}" for path, size in sizes.items()}


def _ulimits(limits: Limits) -> list[dict[str, Any]]:
    values = {"core": 0, "nofile": OPEN_FILES, "fsize": max(limits.workspace_bytes, TMP_BYTES)}
    return [{"Name": name, "Soft": value, "Hard": value} for name, value in values.items()]
