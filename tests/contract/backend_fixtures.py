"""Backends for the contract suite: each with the real agent, and proved to leave nothing."""

import os
import secrets
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import docker
import docker.utils
import pytest

from sandbox_service.backends import local_process
from sandbox_service.backends.docker import DockerBackend, DockerSettings
from sandbox_service.backends.unsafe_local import UnsafeLocalBackend
from sandbox_service.domain.ids import new_id
from sandbox_service.domain.ports import (
    ExecuteRequest,
    ExecutionEnd,
    ExecutionLine,
    KernelMessage,
    Sandbox,
    SandboxBackend,
)
from sandbox_service.domain.values import MIB, Limits, SandboxRef, SandboxSpec, Template

LIMITS = Limits(memory_bytes=768 * MIB, workspace_bytes=256 * MIB, output_bytes=1 * MIB)
KINDS = [
    "unsafe_local",
    pytest.param("docker", marks=pytest.mark.docker),
    pytest.param("gvisor", marks=pytest.mark.docker),
]


@dataclass(frozen=True, slots=True)
class House:
    """A backend, how to open a second one over the same state, and where its state lies."""

    kind: str
    backend: DockerBackend | UnsafeLocalBackend
    reopen: Callable[[], Awaitable[SandboxBackend]]
    state_dir: Path

    @property
    def is_isolated(self) -> bool:
        return self.kind != "unsafe_local"

    @property
    def template(self) -> Template:
        return Template(runtime="runsc" if self.kind == "gvisor" else "runc")

    def spec(self, **labels: str) -> SandboxSpec:
        return SandboxSpec(
            sandbox_id=new_id("sb"), template=self.template, limits=LIMITS, labels=labels
        )


@pytest.fixture(scope="module")
def state_root() -> Iterator[Path]:
    """Short enough a path for unix sockets."""
    path = Path(tempfile.mkdtemp(prefix="sbx-"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="module", params=KINDS)
async def house(request: pytest.FixtureRequest, state_root: Path) -> AsyncIterator[House]:
    """Each backend; afterwards none of its sandboxes may be left."""
    kind: str = request.param
    if kind != "unsafe_local":
        request.getfixturevalue("engine")
    if kind == "gvisor":
        request.getfixturevalue("gvisor")
    instance = f"test-{secrets.token_hex(4)}"
    async with AsyncExitStack() as stack:

        async def reopen() -> SandboxBackend:
            return await stack.enter_async_context(open_backend(kind, instance, state_root))

        backend = await reopen()
        state_dir = state_root / instance
        yield House(kind, backend, reopen, state_dir)
        assert list(await backend.find()) == []
    assert not state_dir.exists()


@asynccontextmanager
async def open_backend(kind: str, instance: str, root: Path) -> AsyncIterator[SandboxBackend]:
    if kind != "unsafe_local":
        async with DockerBackend.open(DockerSettings(instance, root)) as docker:
            yield docker
    else:
        async with UnsafeLocalBackend.open(root / instance) as local:
            yield local


@pytest.fixture(scope="module")
async def live_ref(house: House) -> AsyncIterator[SandboxRef]:
    """A running sandbox that the tests of a module share."""
    async with started(house, house.spec(purpose="shared")) as ref:
        yield ref


@pytest.fixture
async def live(house: House, live_ref: SandboxRef) -> AsyncIterator[Sandbox]:
    """A line to the shared sandbox."""
    sandbox = await house.backend.connect(live_ref)
    yield sandbox
    await sandbox.close()


@asynccontextmanager
async def started(house: House, spec: SandboxSpec) -> AsyncIterator[SandboxRef]:
    """A sandbox of one's own."""
    try:
        refs = [ref async for ref in house.backend.start(spec)]
        yield refs[-1]
    finally:
        await house.backend.stop(SandboxRef(sandbox_id=spec.sandbox_id))


async def execute(sandbox: Sandbox, code: str, execution_id: str = "") -> list[ExecutionLine]:
    """All lines of one execution."""
    request = ExecuteRequest(execution_id or new_id("exec"), code, LIMITS.output_bytes)
    return [line async for line in sandbox.kernel.execute(request)]


def stdout(lines: list[ExecutionLine]) -> str:
    """What an execution printed."""
    messages = (line for line in lines if isinstance(line, KernelMessage))
    return "".join(str(m.content["text"]) for m in messages if m.msg_type == "stream")


def end_of(lines: list[ExecutionLine]) -> ExecutionEnd:
    assert isinstance(lines[-1], ExecutionEnd)
    return lines[-1]


def kill_agent(house: House, ref: SandboxRef) -> None:
    """Kill the sandbox from outside."""
    if house.is_isolated:
        client = docker.APIClient(**docker.utils.kwargs_from_env())
        client.kill(ref.engine_id)
        client.close()
    else:
        os.kill(int(ref.engine_id), signal.SIGKILL)


def has_processes(ref: SandboxRef) -> bool:
    """Whether processes of a local sandbox are still there."""
    return bool(local_process.pids_of(ref.sandbox_id))
