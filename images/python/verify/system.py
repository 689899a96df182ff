"""The image is read-only, runs as any user, and holds nothing that only an attacker needs."""

import getpass
import importlib.util
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

TOOLS = [
    *("apt", "apt-get", "aptitude", "dpkg", "perl", "pip", "pip3", "uv", "conda"),
    *("gcc", "cc", "g++", "c++", "clang", "make", "ld", "as", "gdb", "strace"),
    *(
        "su",
        "sudo",
        "nsenter",
        "unshare",
        "mount",
        "umount",
        "passwd",
        "curl",
        "wget",
        "nc",
        "ssh",
        "git",
        "docker",
    ),
]
SKIPPED = ("/proc", "/sys", "/dev", "/tmp", "/mnt/data", "/home/sandbox")


def files() -> "list[tuple[str, os.stat_result]]":
    """Every file and folder of the image."""
    found = []
    for folder, names, leaves in os.walk("/"):
        names[:] = [name for name in names if os.path.join(folder, name) not in SKIPPED]
        found += [os.path.join(folder, name) for name in [*names, *leaves]]
    return [(path, os.lstat(path)) for path in found]


everything = files()
assert len(everything) > 10_000

privileged = [p for p, s in everything if s.st_mode & (stat.S_ISUID | stat.S_ISGID)]
assert not privileged, f"setuid or setgid: {privileged}"
writable = [p for p, s in everything if s.st_mode & stat.S_IWOTH and not stat.S_ISLNK(s.st_mode)]
assert set(writable) <= {"/run/lock", "/var/tmp", "/var/lock"}, f"writable by all: {writable}"
certificates = {p for p, _ in everything if p.endswith((".pem", ".crt", ".key"))}
certificates -= {"/opt/kernel/lib/python3.13/site-packages/certifi/cacert.pem"}
assert not certificates, f"certificates: {certificates}"
sources = [Path(p) for p, _ in everything if p.startswith(("/opt/", "/usr/lib/python3.13/"))]
sources = [p for p in sources if p.suffix == ".py" and p.stat().st_size]
uncompiled = [p for p in sources if not Path(importlib.util.cache_from_source(p)).exists()]
assert len(sources) > 5_000
assert len(uncompiled) < 20, f"not compiled: {uncompiled}"

search = (
    "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/opt/kernel/bin:/opt/agent/bin"
)
tools = [tool for tool in TOOLS if shutil.which(tool, path=search)]
assert not tools, f"tools: {tools}"
for environment in ("/opt/kernel", "/opt/agent"):
    tried = subprocess.run([f"{environment}/bin/python", "-m", "pip"], capture_output=True)
    assert b"No module named pip" in tried.stderr, tried.stderr

assert os.getuid() > 60_000
assert getpass.getuser() == "sandbox"
assert Path.home() == Path("/home/sandbox")
assert Path.cwd() == Path("/mnt/data")
assert sys.prefix == "/opt/kernel"
assert sys.flags.dont_write_bytecode
for place in ("/opt/kernel/probe", "/etc/probe", "/usr/probe", "/opt/sandbox/probe"):
    try:
        Path(place).write_text("x")
    except OSError:
        continue
    raise AssertionError(f"{place} can be written")
Path("/mnt/data/probe").write_text("x")
Path("/home/sandbox/probe").write_text("x")
print("system: ok")
