"""Why the engine refused to make or run a container, in our errors. Pure."""

import re

from sandbox_service.domain.errors import RuntimeUnavailable, SandboxStartFailed, ServiceError
from sandbox_service.domain.values import Template

LONGEST = 300
NO_IMAGE = re.compile(r"no such image", re.IGNORECASE)
# Unknown to the engine, or known to it while its program is not there.
NO_RUNTIME = re.compile(
    r"unknown runtime specified|unknown or invalid runtime name|runtime \S+ binary not installed"
    r"|unable to retrieve OCI runtime error \([^)]*\): (fork/exec \S+: no such file"
    r"|exec: \S+: executable file not found)",
    re.IGNORECASE,
)
# The words of the layers above, which are the same for every failure.
PREFIXES = re.compile(
    r"^((failed to create (task for container|shim task|shim)"
    r"|OCI runtime create failed|\S+ create failed): )+"
)


def start_failure(reason: str, template: Template) -> ServiceError:
    """`reason` is the engine's own explanation."""
    if NO_IMAGE.search(reason):
        return SandboxStartFailed(
            f"The image {template.image} is not on this engine: build it with `make image`.",
            code="image_missing",
        )
    if NO_RUNTIME.search(reason):
        return RuntimeUnavailable(f"The engine does not have the runtime {template.runtime}.")
    cause = PREFIXES.sub("", reason)[:LONGEST]
    return SandboxStartFailed(f"The engine did not start the sandbox: {cause}")
