"""A cell: what of the host, the engine and the kernel can be opened."""

import json
import os
import socket

WRITES = (
    *("/proc/sys/kernel/core_pattern", "/proc/sys/vm/drop_caches", "/proc/sysrq-trigger"),
    *("/proc/irq/default_smp_affinity", "/etc/passwd", "/etc/hosts", "/opt/sandbox/contents.json"),
    *("/usr/bin/zip", "/opt/kernel/pyvenv.cfg"),
)
READS = (
    "/dev/kmsg",
    "/dev/mem",
    "/dev/vda",
    "/dev/loop0",
    "/dev/kvm",
    "/dev/fuse",
    "/proc/kallsyms",
)
CREATES = (
    "/dev/made",
    "/etc/made",
    "/opt/sandbox/agent/made",
    "/usr/lib/made",
    "/made",
    "/sys/made",
)
SOCKETS = ("/var/run/docker.sock", "/run/docker.sock", "/run/containerd/containerd.sock")


def opened(path: str, flags: int) -> str:
    try:
        with open(os.open(path, flags, 0o600), "rb" if flags == os.O_RDONLY else "wb", 0) as file:
            is_something = flags != os.O_RDONLY or bool(file.read(4096))
    except OSError:
        return "refused"
    return "allowed" if is_something else "refused"


def connected(path: str) -> str:
    with socket.socket(socket.AF_UNIX) as line:
        try:
            line.connect(path)
        except OSError:
            return "refused"
    return "allowed"


found = {f"write {path}": opened(path, os.O_WRONLY) for path in WRITES}
found |= {f"read {path}": opened(path, os.O_RDONLY) for path in READS}
found |= {f"create {path}": opened(path, os.O_WRONLY | os.O_CREAT) for path in CREATES}
found |= {f"connect {path}": connected(path) for path in SOCKETS}
print(json.dumps(found))
