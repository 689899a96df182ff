"""The golden profile: what every sandbox container is made with, as data for the engine's API."""

import hashlib
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
INODES = 100_000
OPEN_FILES = 8192
# Above what the service and its neighbours have, below what a kernel raises itself to.
OOM_SCORE_ADJ = 500
CPU_SHARES_PER_CPU = 1024
BACKGROUND_SHARES = 64
GVISOR_PIDS = 4
GVISOR_OWN_PIDS = 512
GVISOR_LEAST_CPUS = 0.25
MSGQUEUE_BYTES = 64 * 1024
LOCKED_BYTES = 64 * 1024
# What of the kernel's files tells of the host or of its other guests: hidden whatever the engine's version.
MASKED_PATHS = (
    *("/proc/acpi", "/proc/asound", "/proc/cmdline", "/proc/interrupts", "/proc/kallsyms"),
    *("/proc/kcore", "/proc/key-users", "/proc/keys", "/proc/latency_stats", "/proc/modules"),
    *("/proc/sched_debug", "/proc/scsi", "/proc/timer_list", "/proc/timer_stats"),
    *("/proc/vmallocinfo", "/sys/devices/virtual/powercap", "/sys/firmware", "/sys/kernel"),
    *("/sys/module",),
)
READONLY_PATHS = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")

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
        "WorkingDir": WORKSPACE,
        "NetworkDisabled": True,
        "Env": _environment(spec),
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
        "CpuShares": cpu_shares(limits),
        "PidsLimit": limits.pids,
    }


def starting_weight(spec: SandboxSpec) -> int:
    """The CPU weight until the sandbox is up. gVisor has none to change later, so it starts with its own."""
    if spec.is_background and not is_gvisor(spec.template.runtime):
        return BACKGROUND_SHARES
    return cpu_shares(spec.limits)


def engine_pids(spec: SandboxSpec) -> int:
    """The engine's limit on processes. For gVisor it is a second bound, over what gVisor itself needs.

    A guest that met it would take gVisor's kernel down; `nproc` stops the guest's processes before.
    """
    pids = spec.limits.pids
    return GVISOR_PIDS * pids + GVISOR_OWN_PIDS if is_gvisor(spec.template.runtime) else pids


def cpu_shares(limits: Limits) -> int:
    return max(2, int(limits.cpus * CPU_SHARES_PER_CPU))


def given_labels(labels: dict[str, str]) -> dict[str, str]:
    """The labels of the sandbox's spec among all those of its container, the image's included."""
    prefix = GIVEN_LABEL_PREFIX
    return {key.removeprefix(prefix): labels[key] for key in labels if key.startswith(prefix)}


@cache
def seccomp_profile(runtime: str = "runc") -> str:
    """Our system call filter, as the engine takes it.

    gVisor answers each refusal with EPERM, whatever the filter says, and glibc takes only ENOSYS as
    "use clone instead": there clone3 is let through, to a kernel that is not the host's.
    """
    profile = json.loads(_SECCOMP_FILE.read_text(encoding="utf-8"))["profile"]
    if is_gvisor(runtime):
        for rule in profile["syscalls"]:
            if rule.pop("errnoRet", None) is not None:
                rule["action"] = "SCMP_ACT_ALLOW"
    return json.dumps(profile, separators=(",", ":"))


def seccomp_version() -> str:
    return str(json.loads(_SECCOMP_FILE.read_text(encoding="utf-8"))["version"])


def seccomp_sha256(runtime: str) -> str:
    """The digest of the filter as it is given to the engine."""
    return hashlib.sha256(seccomp_profile(runtime).encode()).hexdigest()


def is_gvisor(runtime: str) -> bool:
    """Whether a runtime is gVisor's, by the name that it is registered under."""
    return runtime.startswith("runsc")


def least_cpus(runtime: str) -> float:
    """With less a cold start does not end in its time, and gVisor's sandboxes can be given less only then."""
    return GVISOR_LEAST_CPUS if is_gvisor(runtime) else 0.0


def _host_config(spec: SandboxSpec, placement: Placement) -> dict[str, Any]:
    return {
        **resource_limits(spec.limits),
        "CpuShares": starting_weight(spec),
        "PidsLimit": engine_pids(spec),
        "Runtime": spec.template.runtime,
        "NetworkMode": "none",
        # No /dev/shm of the engine's, which would have no inode limit: ours is among the tmpfs.
        "IpcMode": "none",
        "CgroupnsMode": "private",
        # An engine that remaps users maps 65,536 of them: too few for an id of one's own per sandbox.
        "UsernsMode": "host",
        "Dns": ["127.0.0.1"],
        "Privileged": False,
        "ReadonlyRootfs": True,
        "CapDrop": ["ALL"],
        "SecurityOpt": [
            "no-new-privileges:true",
            f"seccomp={seccomp_profile(spec.template.runtime)}",
        ],
        "MaskedPaths": list(MASKED_PATHS),
        "ReadonlyPaths": list(READONLY_PATHS),
        "Mounts": [_control_mount(placement.control_dir)],
        "Tmpfs": _tmpfs(spec.limits, placement.uid),
        "Ulimits": _ulimits(spec),
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


def _environment(spec: SandboxSpec) -> list[str]:
    threads = ceil(spec.limits.cpus)
    return [
        f"HOME={HOME}",
        f"OMP_NUM_THREADS={threads}",
        f"OPENBLAS_NUM_THREADS={threads}",
        f"SANDBOX_AGENT_REHEARSE={int(spec.is_rehearsed)}",
    ]


def _control_mount(control_dir: Path) -> dict[str, Any]:
    return {
        "Type": "bind",
        "Source": str(control_dir),
        "Target": CONTROL_TARGET,
        "BindOptions": {"Propagation": "rprivate"},
    }


def _tmpfs(limits: Limits, uid: int) -> dict[str, str]:
    # exec: a user's own libraries are loaded from the first three.
    sizes = {
        WORKSPACE: f"size={limits.workspace_bytes},exec",
        "/tmp": f"size={TMP_BYTES},exec",  # noqa: S108
        HOME: f"size={HOME_BYTES},exec",
        "/dev/shm": f"size={limits.memory_bytes},noexec",  # noqa: S108
    }
    options = f"nr_inodes={INODES},mode=0700,uid={uid},gid={uid},rw,nosuid,nodev"
    return {path: f"{size},{options}" for path, size in sizes.items()}


def _ulimits(spec: SandboxSpec) -> list[dict[str, Any]]:
    values = {
        "core": 0,
        "fsize": max(spec.limits.workspace_bytes, spec.limits.memory_bytes, TMP_BYTES),
        "memlock": LOCKED_BYTES,
        "msgqueue": MSGQUEUE_BYTES,
        "nice": 0,
        "nofile": OPEN_FILES,
        "rtprio": 0,
    }
    if is_gvisor(spec.template.runtime):
        values["nproc"] = spec.limits.pids
    return [{"Name": name, "Soft": value, "Hard": value} for name, value in values.items()]
