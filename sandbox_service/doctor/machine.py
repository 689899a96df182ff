"""Gathers the facts of this machine. Reads only; nothing is changed."""

import os
import shutil
import socket
import subprocess
from pathlib import Path

from sandbox_service.backends import control_directory
from sandbox_service.backends.docker.inspection import EngineFacts, engine_facts
from sandbox_service.doctor.facts import MachineFacts
from sandbox_service.domain.errors import EngineUnavailable
from sandbox_service.domain.ids import new_id
from sandbox_service.settings import Settings

CA_SETTINGS = ("SANDBOX_BUILD_CA_BUNDLE", "PIP_CERT", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE")
APPARMOR = Path("/sys/module/apparmor/parameters/enabled")
LEAKS = Path("/sys/devices/system/cpu/vulnerabilities")
COMMAND_S = 10


def gather(settings: Settings) -> MachineFacts:
    """Blocks for as long as the engine takes to answer."""
    is_isolating = settings.backend != "unsafe_local"
    engine, error = _engine(settings) if is_isolating else (None, "")
    return MachineFacts(
        engine=engine,
        engine_error=error,
        runsc_version=_runsc_version(),
        wanted_runtimes=frozenset(t.runtime for t in settings.all_templates.values()),
        is_isolating=is_isolating,
        kernel_has_apparmor=_first_line(APPARMOR) == "Y",
        open_mitigations=_open_leaks(),
        free_bytes=_free_bytes([settings.data_dir, Path(engine.data_root if engine else "/")]),
        missing_ca=_missing_ca(),
        busy_port=_busy_port(settings.host, settings.port),
        runtime_dir=settings.runtime_dir,
        runtime_dir_fault=_runtime_dir_fault(settings.runtime_dir / settings.instance),
        image=settings.template.image,
        expected_image_content=_image_content(),
        is_root=os.geteuid() == 0,
    )


def _engine(settings: Settings) -> tuple[EngineFacts | None, str]:
    try:
        return engine_facts(settings.docker_url, settings.template.image), ""
    except EngineUnavailable as error:
        return None, error.message


def _runsc_version() -> str:
    path = shutil.which("runsc")
    if path is None:
        return ""
    try:
        said = subprocess.run(  # noqa: S603
            [path, "--version"], capture_output=True, text=True, timeout=COMMAND_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return said.stdout.partition("\n")[0].removeprefix("runsc version ").strip()


def _open_leaks() -> tuple[str, ...]:
    if not LEAKS.exists():
        return ()
    return tuple(
        sorted(leak.name for leak in LEAKS.iterdir() if _first_line(leak).startswith("Vulnerable"))
    )


def _free_bytes(places: list[Path]) -> dict[str, int]:
    """By the nearest directory that exists."""
    existing = {next(p for p in (place, *place.parents) if p.exists()) for place in places}
    return {str(place): shutil.disk_usage(place).free for place in sorted(existing)}


def _missing_ca() -> str:
    named = (os.environ.get(setting, "") for setting in CA_SETTINGS)
    return next((path for path in named if path and not Path(path).exists()), "")


def _busy_port(host: str, port: int) -> str:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return f"{host}:{port}"
    return ""


def _runtime_dir_fault(root: Path) -> str:
    try:
        control_directory.socket_path(root / new_id("box"))
    except ValueError as error:
        return str(error)
    nearest = next(place for place in (root, *root.parents) if place.exists())
    return "" if os.access(nearest, os.W_OK) else f"{nearest} cannot be written to"


def _image_content() -> str:
    """The label that the image has when it was built from this version's sources; empty if those are not here."""
    try:
        from images import context

        return context.content_hash(context.source_files())
    except (ImportError, OSError):
        return ""


def _first_line(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").partition("\n")[0].strip()
    except OSError:
        return ""
