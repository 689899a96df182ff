"""Nothing gets out: asked from inside a live session, and of an unlocked container to see that the question works."""

from typing import Any

import docker
import httpx
import pytest

from sandbox_service.domain.values import SandboxSpec, Template
from sandbox_service.posture.golden import checks
from sandbox_service.posture.measuring import PROBE
from tests.security.conftest import Prisoner, cell, unlocked
from tests.support.service import ServiceProcess

# What a kernel or a machine may not have, so that even root is refused there.
OPTIONAL = {
    *("read /dev/mem", "read /dev/vda", "read /dev/loop0", "read /dev/kvm", "read /dev/fuse"),
    *("read /proc/kallsyms", "write /proc/irq/default_smp_affinity", "create /sys/made"),
    *("connect /run/docker.sock", "connect /run/containerd/containerd.sock"),
    *("internet", "metadata service", "name server", "service over ipv6", "new user namespace"),
    *("oom_score", "write /proc/sysrq-trigger"),
}
# What gVisor lets a guest do to gVisor's own kernel, and which the host does not feel.
OF_THE_GUEST = {"runc": set(), "runsc": {"nice", "oom_score"}}


@pytest.fixture(scope="session")
def sources(prison: ServiceProcess, echo_ports: dict[str, int]) -> dict[str, str]:
    """Every cell of questions, ready to run."""
    return {
        "network": cell("network", SERVICE_PORT=prison.port, **echo_ports),
        "privileges": cell("privileges"),
        "paths": cell("paths"),
    }


@pytest.mark.parametrize("name", ["network", "privileges", "paths"])
async def test_nothing_is_allowed_inside(
    inside: Prisoner, runtime: str, sources: dict[str, str], name: str
) -> None:
    """Every question of the cell is answered with a refusal."""
    found = await inside.asks(sources[name])
    let = {question: answer for question, answer in found.items() if answer != "refused"}
    assert let.keys() <= OF_THE_GUEST[runtime], let


@pytest.mark.parametrize("name", ["network", "privileges", "paths"])
def test_an_unlocked_container_is_allowed_all_of_it(
    engine: docker.DockerClient, sources: dict[str, str], name: str
) -> None:
    """A question that nobody would be allowed would prove nothing."""
    found = unlocked(engine, sources[name])
    refused = {question for question, answer in found.items() if answer != "allowed"}
    assert refused <= OPTIONAL


async def test_the_control_directory_cannot_be_touched(inside: Prisoner) -> None:
    """Neither the socket nor its room; and the line still leads to the agent."""
    found = await inside.asks(cell("control_directory"))
    assert set(found.values()) == {"refused"}, found
    assert await inside.says("print(1)") == "1\n"


def test_a_control_directory_without_a_seal_can_be_touched(engine: docker.DockerClient) -> None:
    """The positive control of the test above."""
    prepare = "import os; os.makedirs('/run/agent'); open('/run/agent/agent.sock', 'w').close()\n"
    found = unlocked(engine, prepare + cell("control_directory"))
    assert set(found.values()) == {"allowed"}, found


def measured_checks(runtime: str, measured: dict[str, Any]) -> dict[str, bool]:
    template = Template(runtime=runtime)
    spec = SandboxSpec(sandbox_id="box", template=template, limits=template.limits)
    uid = measured["user"]["uid"][0]
    return {check.name: check.ok for check in checks(spec, uid, measured)}


async def test_a_session_shows_the_golden_posture(inside: Prisoner, runtime: str) -> None:
    """A session as callers get them, not only the throw-away sandbox that /v1/posture measures."""
    found = measured_checks(runtime, await inside.asks(PROBE.read_text()))
    found.pop("own_namespaces")  # compared with the service's own by /v1/posture
    assert [name for name, ok in found.items() if not ok] == []
    assert len(found) > 12


def test_an_unlocked_container_fails_nearly_every_check(engine: docker.DockerClient) -> None:
    """The golden file tells a locked sandbox from an open one."""
    measured = unlocked(engine, PROBE.read_text())
    failed = {name for name, ok in measured_checks("runc", measured).items() if not ok}
    assert failed >= {
        *("capabilities", "no_new_privileges", "seccomp_mode", "system_calls", "sockets"),
        *("interfaces", "root_is_read_only", "writable_mounts", "writable_paths", "tmpfs"),
        *("devices", "limits", "cgroup", "shown_paths"),
    }
    calls = measured["system_calls"]
    assert {name for name, answer in calls.items() if answer == "refused"} <= {
        "userfaultfd",
        "kexec_load",
    }
    assert {measured["sockets"][name] for name in ("packet", "inet_raw", "inet6_raw")} == {
        "allowed"
    }


async def test_posture_reports_every_template(warden: httpx.AsyncClient, runtime: str) -> None:
    """Measured inside, all checks met, with versions, digests and waivers."""
    report = (await warden.get("/v1/posture")).json()
    [template] = [one for one in report["templates"] if one["runtime"] == runtime]
    assert [check["name"] for check in template["checks"] if not check["ok"]] == []
    assert template["ok"] is True
    assert template["hashes"]["image"].startswith("sha256:")
    assert template["versions"]["runc"]
    assert all(waiver["reason"] for waiver in template["waivers"])


async def test_a_runtime_that_is_not_there_is_never_replaced(warden: httpx.AsyncClient) -> None:
    """503 with its own code; no session, no sandbox under another runtime."""
    answer = await warden.post("/v1/sessions", json={"template": "absent"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "runtime_unavailable")
    sessions = (await warden.get("/v1/sessions")).json()["data"]
    assert "absent" not in {session["template"] for session in sessions}


async def test_a_foreign_system_call_interface_is_not_served(inside: Prisoner) -> None:
    """The filter judges calls by number, so the same call must not be had under another number."""
    code = """
import ctypes, json, os, platform, subprocess, sys
program = "import ctypes, sys; sys.exit(int(ctypes.CDLL(None).syscall(0x40000000 + 39) > 0))"
done = subprocess.run([sys.executable, "-c", program])
print(json.dumps(done.returncode if platform.machine() == "x86_64" else 0))
"""
    assert await inside.asks(code) != 1
