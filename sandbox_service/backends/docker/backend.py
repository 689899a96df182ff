"""Sandboxes as Docker containers, behind the `SandboxBackend` port."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from docker.errors import APIError, NotFound

from sandbox_service.backends import control_directory, label_files
from sandbox_service.backends.agent_line import AgentLine
from sandbox_service.backends.docker import spec as profile
from sandbox_service.backends.docker.engine import Engine
from sandbox_service.backends.docker.events import EngineEvents, EventListener
from sandbox_service.backends.docker.failures import start_failure
from sandbox_service.backends.docker.groups import ControlGroups, MemoryKills
from sandbox_service.backends.docker.uids import UserIds
from sandbox_service.backends.readiness import await_idle, await_socket
from sandbox_service.domain.errors import (
    EngineUnavailable,
    SandboxStartFailed,
)
from sandbox_service.domain.values import (
    Capacity,
    Limits,
    SandboxRef,
    SandboxReport,
    SandboxSpec,
    SandboxState,
    Template,
)

REMOVAL_S = 10.0
REMOVAL_STEP_S = 0.05
CONFLICT = 409

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class DockerSettings:
    """`base_url` None means the engine that the environment names, or the local socket."""

    instance: str
    runtime_dir: Path
    base_url: str | None = None
    engine_timeout_s: float = 30.0
    start_timeout_s: float = 20.0


class DockerBackend:
    """Starts containers with the golden profile and finds them again by their labels."""

    def __init__(
        self,
        settings: DockerSettings,
        engine: Engine,
        events: EngineEvents,
        uids: UserIds | None = None,
        groups: ControlGroups | None = None,
    ) -> None:
        self._settings = settings
        self._engine = engine
        self._events = events
        self._uids = uids or UserIds()
        self._groups = groups or ControlGroups()
        self._memory_kills = MemoryKills(self._groups, events)
        self._root = settings.runtime_dir / settings.instance
        self._in_flight: dict[str, asyncio.Task[Any]] = {}

    @classmethod
    @asynccontextmanager
    async def open(cls, settings: DockerSettings) -> AsyncIterator["DockerBackend"]:
        """A backend whose engine answers.

        Raises EngineUnavailable, and ValueError for a runtime directory with too long a path.
        """
        control_directory.require_short(settings.runtime_dir / settings.instance)
        async with AsyncExitStack() as stack:
            engine = await stack.enter_async_context(
                Engine.open(settings.base_url, settings.engine_timeout_s)
            )
            events = await stack.enter_async_context(
                EventListener.open(settings.base_url, settings.instance)
            )
            backend = cls(settings, engine, events)
            stack.callback(control_directory.remove_root, backend._root)
            await backend.find()
            yield backend

    async def start(self, spec: SandboxSpec) -> AsyncGenerator[SandboxRef, None]:
        """Yield a reference after every step that made something; the last one is up and answers.

        The steps: the control directory, the container, the agent with an idle kernel.
        """
        ref = self._place(spec)
        yield ref
        ref = ref.model_copy(update={"engine_id": await self._create(spec, ref)})
        yield ref
        await self._run(spec, ref)
        await self._await_ready(ref)
        if spec.is_background:
            await self.resize(ref, spec.limits)
        yield ref

    async def connect(self, ref: SandboxRef) -> AgentLine:
        """Open a line to a started sandbox. Raises SandboxLost."""
        return await AgentLine.connect_unix(ref.address)

    async def find(self) -> Sequence[SandboxRef]:
        """Every container of this instance, running or not, and directories without one."""
        label = f"{profile.INSTANCE_LABEL}={self._settings.instance}"
        directories = await asyncio.to_thread(control_directory.names_in, self._root)
        containers = await self._engine.call(
            lambda client: client.containers(all=True, filters={"label": label})
        )
        refs = await asyncio.to_thread(lambda: [self._found(one) for one in containers])
        self._uids.note_found({ref.sandbox_id: ref.uid for ref in refs if ref.uid is not None})
        self._events.note_found(frozenset(ref.engine_id for ref in refs))
        with_container = {ref.sandbox_id for ref in refs}
        without = (name for name in directories if name not in with_container)
        return refs + [self._empty(name) for name in without]

    async def stop(self, ref: SandboxRef) -> None:
        """Remove the sandbox and everything made for it. Idempotent; safe after any checkpoint."""
        # First, so that nobody adopts what an engine that is away keeps for now.
        await asyncio.to_thread(label_files.remove, self._root, ref.sandbox_id)
        if (call := self._in_flight.get(ref.sandbox_id)) is not None:
            await asyncio.wait({call})
        await self._remove(self._name(ref.sandbox_id))
        await asyncio.to_thread(control_directory.remove, self._directory(ref.sandbox_id))
        self._uids.free(ref.sandbox_id)
        self._events.forget(ref.engine_id)
        self._memory_kills.forget(ref.engine_id)

    async def report(self, ref: SandboxRef) -> SandboxReport:
        """What the engine, and the host's kernel, say of the sandbox now.

        Without the kernel's count `oom_kills` counts since this backend was opened, and a kill can be
        counted a while after its victim's parent saw it die.
        """
        try:
            state = await self._state(ref)
        except NotFound:
            return SandboxReport(state=SandboxState.MISSING, oom_kills=self._oom_kills(ref))
        oom_kills = self._oom_kills(ref)
        if state["Status"] in ("running", "paused"):
            return SandboxReport(
                state=SandboxState.RUNNING,
                oom_kills=oom_kills,
                is_counted_at_once=self._memory_kills.is_counted(ref.engine_id),
            )
        return SandboxReport(
            state=SandboxState.EXITED,
            exit_code=None if state["Status"] == "created" else state["ExitCode"],
            oom_kills=max(oom_kills, int(state["OOMKilled"])),
        )

    def _oom_kills(self, ref: SandboxRef) -> int:
        return self._memory_kills.of(ref.engine_id)

    async def resize(self, ref: SandboxRef, limits: Limits) -> bool:
        """Apply memory, cpus and pids to a running sandbox; False when the engine cannot."""
        try:
            await self._engine.update(ref.engine_id, profile.resource_limits(limits))
        except APIError:
            return False
        return True

    async def capacity(self, template: Template) -> Capacity:
        """What the engine has. Raises EngineUnavailable."""
        there = await self._engine.capacity()
        return there.model_copy(update={"least_cpus": profile.least_cpus(template.runtime)})

    def can_resize(self, template: Template) -> bool:
        """gVisor's sandboxes keep the limits that they were started with."""
        return not profile.is_gvisor(template.runtime)

    async def label(self, ref: SandboxRef, labels: Mapping[str, str]) -> None:
        """Have `find` give these labels, besides those of the start, until the sandbox is stopped."""
        await asyncio.to_thread(label_files.write, self._root, ref.sandbox_id, labels)

    @property
    def counts_cpu(self) -> bool:
        return True

    async def cpu_s(self, ref: SandboxRef) -> float | None:
        """By the host's control groups; where those are not to be seen the engine is asked."""
        used_s = self._groups.cpu_s(ref.engine_id)
        return await self._engine.cpu_s(ref.engine_id) if used_s is None else used_s

    def _place(self, spec: SandboxSpec) -> SandboxRef:
        directory = self._directory(spec.sandbox_id)
        address = control_directory.socket_path(directory)
        uid = self._uids.take(spec.sandbox_id)
        try:
            control_directory.make(directory)
        except OSError as error:
            self._uids.free(spec.sandbox_id)
            raise SandboxStartFailed(f"The control directory was not made: {error}") from error
        return SandboxRef(
            sandbox_id=spec.sandbox_id, address=address, uid=uid, labels=dict(spec.labels)
        )

    async def _create(self, spec: SandboxSpec, ref: SandboxRef) -> str:
        assert ref.uid is not None
        placement = profile.Placement(
            self._settings.instance, ref.uid, self._directory(ref.sandbox_id)
        )
        body = profile.container_spec(spec, placement)
        name = self._name(ref.sandbox_id)
        try:
            return await self._tracked(ref, self._engine.create(body, name))
        except APIError as error:
            raise start_failure(str(error.explanation or error), spec.template) from error

    async def _run(self, spec: SandboxSpec, ref: SandboxRef) -> None:
        try:
            await self._tracked(ref, self._engine.call(lambda client: client.start(ref.engine_id)))
        except APIError as error:
            raise start_failure(str(error.explanation or error), spec.template) from error

    async def _tracked(self, ref: SandboxRef, call: Coroutine[Any, Any, T]) -> T:
        """Await an engine call that goes on when its caller leaves; `stop` waits for it."""
        task = asyncio.create_task(call)
        self._in_flight[ref.sandbox_id] = task
        task.add_done_callback(lambda done: self._landed(ref.sandbox_id, done))
        return await asyncio.shield(task)

    def _landed(self, sandbox_id: str, task: asyncio.Task[Any]) -> None:
        if self._in_flight.get(sandbox_id) is task:
            del self._in_flight[sandbox_id]
        if not task.cancelled():
            task.exception()  # seen, also when the caller has left

    async def _await_ready(self, ref: SandboxRef) -> None:
        directory = self._directory(ref.sandbox_id)
        seconds = self._settings.start_timeout_s

        def require_alive() -> None:
            code = self._events.exit_code(ref.engine_id)
            if code is not None:
                raise SandboxStartFailed(f"The sandbox exited with code {code} while starting.")

        try:
            async with asyncio.timeout(seconds):
                await await_socket(directory, require_alive)
                control_directory.seal(directory, ref.uid)
                await await_idle(ref.address, require_alive)
        except TimeoutError:
            raise SandboxStartFailed(f"The sandbox was not ready within {seconds:g} s.") from None

    async def _remove(self, name: str) -> None:
        """Remove a container for good. Waits while the engine is at it for someone else."""
        for _ in range(int(REMOVAL_S / REMOVAL_STEP_S)):
            try:
                await self._engine.call(
                    lambda client: client.remove_container(name, v=True, force=True)
                )
            except NotFound:
                return
            except APIError as error:
                if error.status_code != CONFLICT:
                    raise EngineUnavailable(f"The engine did not remove {name}.") from error
                await asyncio.sleep(REMOVAL_STEP_S)
            else:
                return
        raise EngineUnavailable(f"The engine did not remove {name} in {REMOVAL_S:g} s.")

    async def _state(self, ref: SandboxRef) -> dict[str, Any]:
        container = ref.engine_id or self._name(ref.sandbox_id)
        inspected = await self._engine.call(lambda client: client.inspect_container(container))
        state: dict[str, Any] = inspected["State"]
        return state

    def _found(self, container: dict[str, Any]) -> SandboxRef:
        labels = container["Labels"]
        sandbox_id = labels[profile.SANDBOX_LABEL]
        return SandboxRef(
            sandbox_id=sandbox_id,
            engine_id=container["Id"],
            address=self._address(sandbox_id),
            uid=int(labels[profile.UID_LABEL]),
            labels={
                **profile.given_labels(labels),
                **label_files.read(self._root, sandbox_id),
            },
            is_running=container.get("State") in ("running", "paused", "created", "restarting"),
        )

    def _empty(self, sandbox_id: str) -> SandboxRef:
        """A control directory without a container."""
        address = self._address(sandbox_id)
        return SandboxRef(sandbox_id=sandbox_id, address=address, is_running=False)

    def _directory(self, sandbox_id: str) -> Path:
        return self._root / sandbox_id

    def _address(self, sandbox_id: str) -> str:
        return str(self._directory(sandbox_id) / control_directory.SOCKET_NAME)

    def _name(self, sandbox_id: str) -> str:
        return profile.container_name(self._settings.instance, sandbox_id)
