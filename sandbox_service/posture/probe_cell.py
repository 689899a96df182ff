"""Runs as a cell inside a sandbox and prints what it finds of its own lock, as one line of JSON."""

import ctypes
import errno
import glob
import json
import os
import resource
import socket

PR_GET_NO_NEW_PRIVS = 39
PTRACE_ATTACH = 16
SYSTEM_CALLS = {
    "x86_64": {
        "add_key": 248,
        "bpf": 321,
        "io_uring_setup": 425,
        "keyctl": 250,
        "kexec_load": 246,
        "mount": 165,
        "open_by_handle_at": 304,
        "perf_event_open": 298,
        "pidfd_getfd": 438,
        "pivot_root": 155,
        "process_vm_readv": 310,
        "ptrace": 101,
        "setns": 308,
        "unshare": 272,
        "userfaultfd": 323,
    },
    "aarch64": {
        "add_key": 217,
        "bpf": 280,
        "io_uring_setup": 425,
        "keyctl": 219,
        "kexec_load": 104,
        "mount": 40,
        "open_by_handle_at": 265,
        "perf_event_open": 241,
        "pidfd_getfd": 438,
        "pivot_root": 41,
        "process_vm_readv": 270,
        "ptrace": 117,
        "setns": 268,
        "unshare": 97,
        "userfaultfd": 282,
    },
}
# Family, type, protocol: what must not be had. The first is ours: unix sockets work.
SOCKETS = {
    "unix": (1, 1, 0),
    "netlink_audit": (16, 3, 9),
    "packet": (17, 3, 0),
    "inet_raw": (2, 3, 1),
    "inet6_raw": (10, 3, 58),
    "alg": (38, 5, 0),
    "vsock": (40, 1, 0),
    "bluetooth": (31, 3, 1),
    "can": (29, 3, 1),
    "tipc": (30, 1, 0),
    "xdp": (44, 3, 0),
}
HIDDEN = (
    *("/proc/cmdline", "/proc/kallsyms", "/proc/kcore", "/proc/keys", "/proc/modules"),
    *("/proc/sched_debug", "/proc/timer_list", "/sys/firmware", "/sys/kernel", "/sys/module"),
)
UNWRITABLE = (
    *("/proc/sys/kernel/core_pattern", "/proc/sysrq-trigger", "/sys/fs/cgroup", "/etc/passwd"),
    *("/run/agent", "/opt/sandbox", "/usr/bin", "/dev"),
)
LIMITS = ("CORE", "FSIZE", "MEMLOCK", "NOFILE", "MSGQUEUE", "NICE", "RTPRIO")
TMPFS = ("/dev/shm", "/home/sandbox", "/mnt/data", "/tmp")  # noqa: S108

libc = ctypes.CDLL(None, use_errno=True)


def status() -> dict[str, str]:
    with open("/proc/self/status") as file:
        pairs = (line.partition(":") for line in file)
        return {name: value.strip() for name, _, value in pairs}


def capabilities(fields: dict[str, str]) -> dict[str, str]:
    return {name: fields[name] for name in ("CapInh", "CapPrm", "CapEff", "CapBnd")}


def attempt_call(name: str, number: int) -> str:
    """With arguments that do nothing: refused, or let through to look at them."""
    ctypes.set_errno(0)
    result = libc.syscall(number, PTRACE_ATTACH if name == "ptrace" else 0, 0, 0, 0, 0, 0)
    code = ctypes.get_errno() if result == -1 else 0
    return "refused" if code in (errno.EPERM, errno.ENOSYS) else f"allowed ({code})"


def attempt_socket(family: int, kind: int, protocol: int) -> str:
    try:
        socket.socket(family, kind, protocol).close()
    except OSError:
        return "refused"
    return "allowed"


def attempt_connect(address: tuple[str, int]) -> str:
    with socket.socket(socket.AF_INET6 if ":" in address[0] else socket.AF_INET) as line:
        line.settimeout(2)
        try:
            line.connect(address)
        except OSError as error:
            return errno.errorcode.get(error.errno or 0, type(error).__name__)
    return "connected"


def tmpfs(path: str) -> dict[str, object]:
    found = os.statvfs(path)
    return {
        "bytes": found.f_blocks * found.f_frsize,
        "inodes": found.f_files,
        "nosuid": bool(found.f_flag & os.ST_NOSUID),
        "nodev": bool(found.f_flag & os.ST_NODEV),
    }


def writable_mounts() -> list[str]:
    with open("/proc/self/mounts") as file:
        targets = {line.split()[1] for line in file}
    return sorted(path for path in targets if os.path.isdir(path) and os.access(path, os.W_OK))


def shown(path: str) -> bool:
    """Whether a path that must be hidden tells anything."""
    try:
        if os.path.isdir(path):
            return bool(os.listdir(path))
        with open(path, "rb") as file:
            return bool(file.read(1))
    except OSError:
        return False


def first_line(*paths: str) -> str:
    for path in paths:
        try:
            with open(path) as file:
                return file.readline().strip()
        except OSError:
            continue
    return ""


def cgroup() -> dict[str, object]:
    root = "/sys/fs/cgroup"
    quota = first_line(f"{root}/cpu.max").split() or [
        first_line(f"{root}/cpu/cpu.cfs_quota_us"),
        first_line(f"{root}/cpu/cpu.cfs_period_us"),
    ]
    swap = first_line(f"{root}/memory.swap.max")
    total = first_line(f"{root}/memory/memory.memsw.limit_in_bytes")
    memory = first_line(f"{root}/memory.max", f"{root}/memory/memory.limit_in_bytes")
    pids = first_line(f"{root}/pids.max", f"{root}/pids/pids.max")
    return {
        "memory_bytes": int(memory) if memory.isdigit() else memory,
        "swap_bytes": int(swap) if swap.isdigit() else int(total or 0) - int(memory or 0),
        "pids": int(pids) if pids.isdigit() else pids,
        "cpus": int(quota[0]) / int(quota[1]) if "".join(quota).isdigit() else "none",
    }


def cgroup_paths() -> list[str]:
    """Where it sees itself, over all hierarchies: only its own root when each is a namespace of its own."""
    with open("/proc/self/cgroup") as file:
        return sorted({line.rstrip("\n").split(":", 2)[2] for line in file})


def namespaces() -> dict[str, str]:
    found = {}
    for path in glob.glob("/proc/self/ns/*"):
        try:
            found[os.path.basename(path)] = os.readlink(path)
        except OSError:
            continue
    return found


def measure() -> dict[str, object]:
    fields = status()
    numbers = SYSTEM_CALLS[os.uname().machine]
    return {
        "user": {
            "uid": list(os.getresuid()),
            "gid": list(os.getresgid()),
            "groups": os.getgroups(),
        },
        "capabilities": capabilities(fields),
        "no_new_privileges": libc.prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0),
        "seccomp_mode": int(fields["Seccomp"]),
        "system_calls": {name: attempt_call(name, number) for name, number in numbers.items()},
        "sockets": {name: attempt_socket(*what) for name, what in SOCKETS.items()},
        "interfaces": sorted(name for _, name in socket.if_nameindex()),
        "reaches": {
            "internet": attempt_connect(("192.0.2.1", 80)),
            "internet6": attempt_connect(("2001:db8::1", 80)),
            "metadata": attempt_connect(("169.254.169.254", 80)),
        },
        "root_is_read_only": bool(os.statvfs("/").f_flag & os.ST_RDONLY),
        "writable_mounts": writable_mounts(),
        "writable_paths": sorted(path for path in UNWRITABLE if os.access(path, os.W_OK)),
        "shown_paths": sorted(path for path in HIDDEN if shown(path)),
        "tmpfs": {path: tmpfs(path) for path in TMPFS},
        "devices": sorted(os.listdir("/dev")),
        "namespaces": namespaces(),
        "limits": {
            name: resource.getrlimit(getattr(resource, f"RLIMIT_{name}")) for name in LIMITS
        },
        "cgroup": cgroup(),
        "cgroup_paths": cgroup_paths(),
    }


print(json.dumps(measure()))
