"""Sandboxes as plain local processes: the real agent and kernel, without any isolation.

For tests, and for looking at the service on a machine without an engine. Code that runs here can
do whatever the service's own user can.
"""

import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from math import ceil
from pathlib import Path

import orjson

from sandbox_service.backends import control_directory, label_files, local_process
from sandbox_service.backends.agent_line import AgentLine
from sandbox_service.backends.readiness import await_idle, await_socket
from sandbox_service.domain.errors import SandboxStartFailed
from sandbox_service.domain.values import (
    Limits,
    SandboxRef,
    SandboxReport,
    SandboxSpec,
    SandboxState,
    Template,
)

AGENT = Path(__file__).parents[2] / "images/python/agent"
LABELS_FILE = "labels.json"
SIGNAL_EXIT_BASE = 128


class UnsafeLocalBackend:
    """Starts agents as child processes. They end when the backend is closed."""

    def __init__(self, root: Path, start_timeout_s: float) -> None:
        self._root = root
        self._start_timeout_s = start_timeout_s
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    @classmethod
    @asynccontextmanager
    async def open(
        cls, state_dir: Path | None = None, start_timeout_s: float = 60.0, *, keep: bool = False
    ) -> AsyncIterator["UnsafeLocalBackend"]:
        """A backend that stops what it started when it closes, unless it is told to `keep` it.

        `state_dir` None means a temporary one; a lasting one lets a restart find what was left.
        """
        root = state_dir or Path(tempfile.mkdtemp(prefix="sandbox-unsafe-"))
        control_directory.require_short(root)
        backend = cls(root, start_timeout_s)
        try:
            yield backend
        finally:
            for sandbox_id in [] if keep else list(backend._processes):
                await backend.stop(SandboxRef(sandbox_id=sandbox_id))
            control_directory.remove_root(root)

    async def start(self, spec: SandboxSpec) -> AsyncGenerator[SandboxRef, None]:
        """Yield a reference after every step that made something; the last one is up and answers.

        The steps: the directories, the process, the agent with an idle kernel.
        """
        directory = self._directory(spec.sandbox_id)
        ref = self._reference(spec.sandbox_id, spec.labels)
        await asyncio.to_thread(_make_directories, directory, spec.labels)
        yield ref
        ref = ref.model_copy(update={"engine_id": str(await self._spawn(spec, directory))})
        yield ref
        await self._await_ready(ref)
        yield ref

    async def connect(self, ref: SandboxRef) -> AgentLine:
        """Open a line to a started sandbox. Raises SandboxLost."""
        return await AgentLine.connect_unix(ref.address)

    async def find(self) -> Sequence[SandboxRef]:
        """Every sandbox with a directory here, running or not."""
        return await asyncio.to_thread(self._found)

    async def stop(self, ref: SandboxRef) -> None:
        """Kill every process of the sandbox and remove its directory. Idempotent."""
        await asyncio.to_thread(label_files.remove, self._root, ref.sandbox_id)
        process = self._processes.pop(ref.sandbox_id, None)
        if process is not None:
            process.kill()  # one that was just made carries no mark yet
        await local_process.end_all(ref.sandbox_id)
        if process is not None:
            await asyncio.to_thread(process.wait)
        directory = self._directory(ref.sandbox_id)
        await asyncio.to_thread(shutil.rmtree, directory, ignore_errors=True)

    async def report(self, ref: SandboxRef) -> SandboxReport:
        """What the operating system says of the agent's process. It counts no memory kills."""
        if not self._directory(ref.sandbox_id).exists():
            return SandboxReport(state=SandboxState.MISSING)
        process = self._processes.get(ref.sandbox_id)
        if process is not None and process.poll() is not None:
            return SandboxReport(state=SandboxState.EXITED, exit_code=_exit_code(process))
        is_running = process is not None or local_process.pids_of(ref.sandbox_id)
        state = SandboxState.RUNNING if is_running else SandboxState.EXITED
        return SandboxReport(state=state, is_counted_at_once=True)

    async def resize(self, ref: SandboxRef, limits: Limits) -> bool:
        """False: nothing is limited here."""
        return False

    async def capacity(self, template: Template) -> None:
        """None: nothing is limited here."""

    def can_resize(self, template: Template) -> bool:
        return False

    @property
    def counts_cpu(self) -> bool:
        return False

    async def cpu_s(self, ref: SandboxRef) -> float | None:
        """None: nobody counts here."""
        return None

    async def _spawn(self, spec: SandboxSpec, directory: Path) -> int:
        # Not a child of the event loop, which would end it when the service stops; and at once, so that
        # who is cancelled leaves nothing that is not known.
        process = _spawn(spec, directory)
        self._processes[spec.sandbox_id] = process
        return process.pid

    async def label(self, ref: SandboxRef, labels: Mapping[str, str]) -> None:
        """Have `find` give these labels, besides those of the start, until the sandbox is stopped."""
        await asyncio.to_thread(label_files.write, self._root, ref.sandbox_id, labels)

    async def _await_ready(self, ref: SandboxRef) -> None:
        process = self._processes[ref.sandbox_id]
        control = self._directory(ref.sandbox_id) / "control"

        def require_alive() -> None:
            if process.poll() is not None:
                raise SandboxStartFailed(f"The agent exited with code {process.returncode}.")

        try:
            async with asyncio.timeout(self._start_timeout_s):
                await await_socket(control, require_alive)
                await await_idle(ref.address, require_alive)
        except TimeoutError:
            seconds = f"{self._start_timeout_s:g} s"
            raise SandboxStartFailed(f"The agent was not ready within {seconds}.") from None

    def _found(self) -> list[SandboxRef]:
        names = control_directory.names_in(self._root)
        return [self._found_one(name) for name in names]

    def _found_one(self, name: str) -> SandboxRef:
        ref = self._reference(name, _read_labels(self._root / name))
        is_running = bool(local_process.pids_of(name))
        labels = {**ref.labels, **label_files.read(self._root, name)}
        return ref.model_copy(update={"is_running": is_running, "labels": labels})

    def _reference(self, sandbox_id: str, labels: dict[str, str]) -> SandboxRef:
        address = control_directory.socket_path(self._directory(sandbox_id) / "control")
        process = self._processes.get(sandbox_id)
        engine_id = str(process.pid) if process else ""
        return SandboxRef(
            sandbox_id=sandbox_id, engine_id=engine_id, address=address, labels=dict(labels)
        )

    def _directory(self, sandbox_id: str) -> Path:
        return self._root / sandbox_id


def _spawn(spec: SandboxSpec, directory: Path) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(  # noqa: S603 - our own agent
        [sys.executable, "-I", str(AGENT)],
        env=_environment(spec, directory),
        cwd=directory / "workspace",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def _make_directories(directory: Path, labels: dict[str, str]) -> None:
    control_directory.make_root(directory.parent)
    directory.mkdir()
    for name in ("control", "workspace", "home", "run"):
        (directory / name).mkdir()
    (directory / LABELS_FILE).write_bytes(orjson.dumps(labels))


def _read_labels(directory: Path) -> dict[str, str]:
    try:
        labels: dict[str, str] = orjson.loads((directory / LABELS_FILE).read_bytes())
    except (OSError, ValueError):  # made half way
        return {}
    return labels


def _environment(spec: SandboxSpec, directory: Path) -> dict[str, str]:
    """Nothing of the service's own environment but where programs and fonts are."""
    caches = os.environ.get("MPLCONFIGDIR") or str(Path.home() / ".cache" / "matplotlib")
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "LANG": "C.UTF-8",
        "HOME": str(directory / "home"),
        "MPLCONFIGDIR": caches,
        "OMP_NUM_THREADS": str(ceil(spec.limits.cpus)),
        local_process.MARK: spec.sandbox_id,
        "SANDBOX_AGENT_LISTEN": f"unix://{directory / 'control' / control_directory.SOCKET_NAME}",
        "SANDBOX_AGENT_WORKSPACE": str(directory / "workspace"),
        "SANDBOX_AGENT_RUN_DIR": str(directory / "run"),
        "SANDBOX_AGENT_KERNEL_PYTHON": sys.executable,
    }


def _exit_code(process: "subprocess.Popen[bytes]") -> int | None:
    """As engines count: 128 and the signal's number for a killed process."""
    code = process.returncode
    return SIGNAL_EXIT_BASE - code if code is not None and code < 0 else code
