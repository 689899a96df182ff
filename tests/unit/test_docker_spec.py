"""The golden profile of a sandbox container, as data."""

import json
from pathlib import Path
from typing import Any

import pytest

from sandbox_service.backends.docker.spec import (
    Placement,
    container_spec,
    given_labels,
    resource_limits,
    seccomp_profile,
    seccomp_sha256,
)
from sandbox_service.domain.values import MIB, Limits, SandboxSpec, Template

PLACEMENT = Placement("prod", 1_234_567, Path("/run/x/prod/sb_1"))
LIMITS = Limits(memory_bytes=512 * MIB, cpus=1.5, pids=64, workspace_bytes=300 * MIB)
GOLDEN = Path(__file__).with_name("golden_container.json")
REFUSED = [
    "acct",
    "add_key",
    "bpf",
    "chroot",
    "clock_settime",
    "clone3",
    "delete_module",
    "fanotify_init",
    "fanotify_mark",
    "finit_module",
    "fsconfig",
    "fsmount",
    "fsopen",
    "fspick",
    "init_module",
    "io_uring_enter",
    "io_uring_register",
    "io_uring_setup",
    "ioperm",
    "iopl",
    "kcmp",
    "kexec_file_load",
    "kexec_load",
    "keyctl",
    "lookup_dcookie",
    "memfd_secret",
    "modify_ldt",
    "mount",
    "mount_setattr",
    "move_mount",
    "name_to_handle_at",
    "nfsservctl",
    "open_by_handle_at",
    "open_tree",
    "perf_event_open",
    "pidfd_getfd",
    "pivot_root",
    "process_madvise",
    "process_vm_readv",
    "process_vm_writev",
    "ptrace",
    "quotactl",
    "reboot",
    "request_key",
    "setdomainname",
    "sethostname",
    "setns",
    "settimeofday",
    "swapoff",
    "swapon",
    "syslog",
    "umount",
    "umount2",
    "unshare",
    "uselib",
    "userfaultfd",
    "vhangup",
    "vmsplice",
]


def spec_of(**template: Any) -> SandboxSpec:
    return SandboxSpec(
        sandbox_id="sb_1", template=Template(**template), limits=LIMITS, labels={"session": "s1"}
    )


def reviewable(body: dict[str, Any]) -> dict[str, Any]:
    """The body with the system call filter, which has a file of its own, as its digest."""
    options = ["no-new-privileges:true", f"seccomp=sha256:{seccomp_sha256('runc')}"]
    return {**body, "HostConfig": {**body["HostConfig"], "SecurityOpt": options}}


@pytest.fixture
def body() -> dict[str, Any]:
    return container_spec(spec_of(), PLACEMENT)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("User", "1234567:1234567"),
        ("Hostname", "sandbox"),
        ("Image", "sandbox-python:latest"),
        ("HostConfig.NetworkMode", "none"),
        ("HostConfig.ReadonlyRootfs", True),
        ("HostConfig.Privileged", False),
        ("HostConfig.CapDrop", ["ALL"]),
        ("HostConfig.Runtime", "runc"),
        ("HostConfig.Memory", 512 * MIB),
        ("HostConfig.MemorySwap", 512 * MIB),
        ("HostConfig.NanoCpus", 1_500_000_000),
        ("HostConfig.PidsLimit", 64),
        ("HostConfig.IpcMode", "none"),
        ("HostConfig.CgroupnsMode", "private"),
        ("HostConfig.CpuShares", 1536),
        ("HostConfig.LogConfig", {"Type": "none"}),
        ("HostConfig.RestartPolicy", {"Name": "no"}),
        ("HostConfig.Init", False),
        ("HostConfig.OomScoreAdj", 500),
    ],
)
def test_a_container_is_locked(body: dict[str, Any], path: str, value: object) -> None:
    """Each part of the profile, by its name at the engine."""
    found: Any = body
    for part in path.split("."):
        found = found[part]
    assert found == value


@pytest.mark.parametrize(
    "name", ["Binds", "Devices", "CapAdd", "VolumesFrom", "PortBindings", "GroupAdd", "PidMode"]
)
def test_nothing_of_the_host_is_shared(body: dict[str, Any], name: str) -> None:
    """The words that would let the host in do not occur."""
    assert name not in body["HostConfig"]


def test_the_control_directory_is_the_only_mount(body: dict[str, Any]) -> None:
    """One bind mount, and it is the sealed one."""
    [mount] = body["HostConfig"]["Mounts"]
    assert (mount["Source"], mount["Target"]) == ("/run/x/prod/sb_1", "/run/agent")


def test_no_new_privileges_and_our_system_call_filter(body: dict[str, Any]) -> None:
    """Both security options, and no third."""
    assert body["HostConfig"]["SecurityOpt"] == [
        "no-new-privileges:true",
        f"seccomp={seccomp_profile()}",
    ]


@pytest.mark.parametrize(
    ("path", "size"),
    [
        ("/mnt/data", 300 * MIB),
        ("/tmp", 256 * MIB),
        ("/home/sandbox", 64 * MIB),
        ("/dev/shm", 512 * MIB),
    ],
)
def test_what_can_be_written_has_a_size(body: dict[str, Any], path: str, size: int) -> None:
    """Every writable place is a tmpfs of the sandbox's own user, bounded in bytes and inodes."""
    options = set(body["HostConfig"]["Tmpfs"][path].split(","))
    assert {f"size={size}", "nr_inodes=100000", "mode=0700", "uid=1234567"} < options
    assert {"nosuid", "nodev"} < options


def test_ulimits_bound_what_one_process_may_hold(body: dict[str, Any]) -> None:
    """Hard and soft alike; a file can be as large as the workspace or memory."""
    limits = {item["Name"]: item["Hard"] for item in body["HostConfig"]["Ulimits"]}
    assert all(item["Soft"] == item["Hard"] for item in body["HostConfig"]["Ulimits"])
    assert limits == {
        "core": 0,
        "fsize": 512 * MIB,
        "memlock": 64 * 1024,
        "msgqueue": 64 * 1024,
        "nice": 0,
        "nofile": 8192,
        "rtprio": 0,
    }


def test_the_whole_profile_is_the_golden_one(body: dict[str, Any]) -> None:
    """Nothing is added, dropped or changed unseen: the file is what a reviewer reads.

    Written anew with `python -m tests.unit.golden`, after thought.
    """
    assert reviewable(body) == json.loads(GOLDEN.read_text())


@pytest.mark.parametrize("runtime", ["runc", "runsc"])
def test_the_filter_of_each_runtime_differs_only_in_clone3(runtime: str) -> None:
    """gVisor answers EPERM where we say ENOSYS, which glibc would take as final."""
    own = json.loads(seccomp_profile(runtime))["syscalls"]
    usual = json.loads(seccomp_profile())["syscalls"]
    differing = [a["names"] for a, b in zip(own, usual, strict=True) if a != b]
    assert differing == ([["clone3"]] if runtime == "runsc" else [])


@pytest.mark.parametrize(
    ("runtime", "is_background", "shares"),
    [("runc", False, 1536), ("runc", True, 64), ("runsc", True, 1536)],
)
def test_the_pool_fills_at_a_low_weight(runtime: str, is_background: bool, shares: int) -> None:
    """Sandboxes in use go first, where the weight can be raised again."""
    spec = spec_of(runtime=runtime).model_copy(update={"is_background": is_background})
    assert container_spec(spec, PLACEMENT)["HostConfig"]["CpuShares"] == shares
    assert resource_limits(LIMITS)["CpuShares"] == 1536


def test_threads_follow_the_cpus(body: dict[str, Any]) -> None:
    """Numeric libraries start as many threads as there are CPUs, rounded up."""
    assert {"OMP_NUM_THREADS=2", "OPENBLAS_NUM_THREADS=2"} < set(body["Env"])


def test_labels_rebuild_the_reference(body: dict[str, Any]) -> None:
    """Our labels, and the caller's own, apart from whatever the image carries."""
    labels = body["Labels"]
    assert labels["sandbox-service.instance"] == "prod"
    assert labels["sandbox-service.sandbox"] == "sb_1"
    assert labels["sandbox-service.uid"] == "1234567"
    assert given_labels({**labels, "image.label": "x"}) == {"session": "s1"}


def test_a_templates_runtime_is_asked_for() -> None:
    """Never a silent fall-back."""
    body = container_spec(spec_of(runtime="runsc"), PLACEMENT)
    assert body["HostConfig"]["Runtime"] == "runsc"


def test_under_gvisor_the_guests_own_kernel_counts_the_processes() -> None:
    """The engine's limit lies over what gVisor needs for as many."""
    host = container_spec(spec_of(runtime="runsc"), PLACEMENT)["HostConfig"]
    assert {"Name": "nproc", "Soft": 64, "Hard": 64} in host["Ulimits"]
    assert host["PidsLimit"] == 4 * 64 + 512


def test_the_body_is_json(body: dict[str, Any]) -> None:
    """It can be shown, compared and sent as it is."""
    assert json.loads(json.dumps(body)) == body


def rules_of(name: str) -> list[dict[str, Any]]:
    profile = json.loads(seccomp_profile())
    return [
        rule
        for rule in profile["syscalls"]
        if name in rule["names"] and rule["action"] == "SCMP_ACT_ALLOW"
    ]


@pytest.mark.parametrize("name", REFUSED)
def test_a_dangerous_system_call_is_not_allowed(name: str) -> None:
    """What is not in the list is refused, and these are not."""
    assert rules_of(name) == []


@pytest.mark.parametrize("name", ["read", "execve", "futex", "mmap", "memfd_create", "statx"])
def test_an_ordinary_system_call_is_allowed(name: str) -> None:
    """A positive control of the test above."""
    assert len(rules_of(name)) == 1


def test_all_else_is_refused_and_foreign_architectures_are_not_served() -> None:
    """The default is an error; 32-bit calls have no list of their own."""
    profile = json.loads(seccomp_profile())
    assert profile["defaultAction"] == "SCMP_ACT_ERRNO"
    assert all(entry["subArchitectures"] == [] for entry in profile["archMap"])


def test_sockets_are_an_allow_list() -> None:
    """Unix sockets; TCP and UDP of the internet families; route queries."""
    pairs = {
        tuple(sorted((arg["index"], arg["value"]) for arg in rule["args"]))
        for rule in rules_of("socket")
    }
    internet = {((0, family), (2, protocol)) for family in (2, 10) for protocol in (0, 6, 17)}
    assert pairs == {((0, 1),), ((0, 16), (2, 0))} | internet


def test_clone_makes_no_namespaces() -> None:
    """No namespace flag passes; clone3, whose flags cannot be seen, is answered ENOSYS."""
    [rule] = rules_of("clone")
    [mask] = rule["args"]
    assert (mask["value"], mask["valueTwo"], mask["op"]) == (0x7E020000, 0, "SCMP_CMP_MASKED_EQ")
    profile = json.loads(seccomp_profile())
    [clone3] = [rule for rule in profile["syscalls"] if "clone3" in rule["names"]]
    assert (clone3["action"], clone3["errnoRet"]) == ("SCMP_ACT_ERRNO", 38)
