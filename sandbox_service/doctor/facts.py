"""What the doctor knows of a machine, as plain values."""

from dataclasses import dataclass, field
from pathlib import Path

from sandbox_service.backends.docker.inspection import EngineFacts


@dataclass(frozen=True, slots=True)
class MachineFacts:
    """`engine` is None when none answers, and `engine_error` then says why."""

    engine: EngineFacts | None
    engine_error: str = ""
    runsc_version: str = ""
    wanted_runtimes: frozenset[str] = frozenset()
    is_isolating: bool = True
    kernel_has_apparmor: bool = False
    open_mitigations: tuple[str, ...] = ()
    free_bytes: dict[str, int] = field(default_factory=dict)
    missing_ca: str = ""
    busy_port: str = ""
    runtime_dir: Path = Path("/run/sandbox-service")
    runtime_dir_fault: str = ""
    image: str = ""
    expected_image_content: str = ""
    is_root: bool = False
