"""A cell: more rights than it was given, by every way there is."""

import ctypes
import json
import os
import socket
import stat
from collections.abc import Callable

libc = ctypes.CDLL(None, use_errno=True)


def outcome(act: Callable[[], object]) -> str:
    try:
        act()
    except OSError:
        return "refused"
    return "allowed"


def call(function: str, *arguments: object) -> None:
    if getattr(libc, function)(*arguments) != 0:
        raise OSError(ctypes.get_errno(), function)


def add_an_interface_address() -> None:
    """RTM_NEWADDR of 10.9.8.7 on the loopback interface, and then its removal."""
    for kind in (20, 21):
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as line:
            attribute = (8).to_bytes(2, "little") + (2).to_bytes(2, "little") + bytes([10, 9, 8, 7])
            address = bytes([socket.AF_INET, 32, 0, 0]) + (1).to_bytes(4, "little")
            body = address + attribute
            flags = 0x405 if kind == 20 else 0x5
            head = (16 + len(body)).to_bytes(4, "little") + kind.to_bytes(2, "little")
            head += flags.to_bytes(2, "little") + bytes(8)
            line.bind((0, 0))
            line.send(head + body)
            code = int.from_bytes(line.recv(4096)[16:20], "little", signed=True)
            if code:
                raise OSError(-code, "netlink")


def become_root() -> None:
    os.setresuid(-1, 0, -1)


def give_away() -> None:
    with open("/tmp/given", "w"):
        os.chown("/tmp/given", 1, 1)


def lower_oom_score() -> None:
    with open("/proc/self/oom_score_adj", "w") as file:
        file.write("-900")


def make_device() -> None:
    """The kernel's log, under a name of one's own."""
    try:
        os.mknod("/tmp/log", stat.S_IFCHR | 0o600, os.makedev(1, 11))
        os.close(os.open("/tmp/log", os.O_RDONLY))
    finally:
        if os.path.lexists("/tmp/log"):
            os.unlink("/tmp/log")


def change_host_name() -> None:
    name = os.uname().nodename
    call("sethostname", name.encode(), len(name))


found = {
    "setresuid": outcome(become_root),
    "setgroups": outcome(lambda: os.setgroups([0])),
    "setresgid": outcome(lambda: os.setresgid(-1, 0, -1)),
    "chown": outcome(give_away),
    "mknod": outcome(make_device),
    "chroot": outcome(lambda: os.chroot("/")),
    "nice": outcome(lambda: os.nice(-5)),
    "oom_score": outcome(lower_oom_score),
    "sethostname": outcome(change_host_name),
    "netlink write": outcome(add_an_interface_address),
    "tmpfs mount": outcome(lambda: call("mount", b"none", b"/mnt", b"tmpfs", 0, None)),
    "unshare": outcome(lambda: call("unshare", 0x20000)),
    "new user namespace": outcome(lambda: call("unshare", 0x10000000)),
}
print(json.dumps(found))
