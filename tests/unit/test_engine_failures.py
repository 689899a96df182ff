"""Why a sandbox was not started: the words of real engines (20.10.24 and 28.5.2), and what a caller is told."""

import pytest

from sandbox_service.backends.docker.failures import start_failure
from sandbox_service.domain.errors import RuntimeUnavailable, SandboxStartFailed
from sandbox_service.domain.values import Template

OLD = "failed to create shim task: OCI runtime create failed: "
NEW = f"failed to create task for container: {OLD}"
NO_LOG = "unable to retrieve OCI runtime error (open /run/x/log.json: no such file or directory): "


@pytest.mark.parametrize(
    "reason",
    [
        "Unknown runtime specified runsc",
        "unknown or invalid runtime name: runsc",
        f"{OLD}{NO_LOG}fork/exec /nowhere/runsc: no such file or directory: unknown",
        f'{OLD}{NO_LOG}exec: "runsc": executable file not found in $PATH: unknown',
        f"{NEW}{NO_LOG}fork/exec /nowhere/runsc: no such file or directory",
        f'{NEW}{NO_LOG}exec: "runsc": executable file not found in $PATH',
        'failed to start shim: runtime "io.containerd.x.v2" binary not installed "x": not exist',
    ],
)
def test_a_runtime_that_is_not_there_is_said_so(reason: str) -> None:
    """Unknown to the engine, or its program is gone."""
    failure = start_failure(reason, Template(runtime="runsc"))
    assert isinstance(failure, RuntimeUnavailable)
    assert failure.message == "The engine does not have the runtime runsc."


@pytest.mark.parametrize(
    ("reason", "told"),
    [
        (
            f'{OLD}runc create failed: unable to start container process: exec: "/bin/x": stat '
            "/bin/x: no such file or directory: unknown",
            'unable to start container process: exec: "/bin/x": stat /bin/x: no such file',
        ),
        (
            f"{NEW}runc create failed: unable to start container process: error during container "
            "init: error setting cgroup config for procHooks process: no space left on device",
            "unable to start container process: error during container init: error setting cgroup",
        ),
        (
            f"{OLD}runc create failed: unable to start container process: unable to setup user: "
            "cannot set uid to unmapped user in user namespace: unknown",
            "unable to start container process: unable to setup user: cannot set uid to unmapped",
        ),
        (
            f"{NEW}{NO_LOG}runsc did not terminate successfully: exit status 128",
            "unable to retrieve OCI runtime error",
        ),
        ("range of CPUs is from 0.01 to 2.00, as there are only 2 CPUs available", "range of CPUs"),
    ],
)
def test_any_other_failure_is_told_as_what_it_was(reason: str, told: str) -> None:
    """Without the layers' own words, and never as a runtime that is missing."""
    for runtime in ("runc", "runsc"):
        failure = start_failure(reason, Template(runtime=runtime))
        assert isinstance(failure, SandboxStartFailed)
        assert failure.message.startswith(f"The engine did not start the sandbox: {told}")


def test_an_image_that_is_not_there_names_what_builds_it() -> None:
    """By its code, too."""
    failure = start_failure("No such image: sandbox-python:latest", Template())
    assert (failure.code, "make image" in failure.message) == ("image_missing", True)
