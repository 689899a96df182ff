"""An engine that is away, stuck, or comes back: the service answers, and counts on."""

import asyncio
import gc
import threading
from collections.abc import Callable, Iterator
from contextlib import aclosing, suppress
from pathlib import Path
from typing import TypeVar

import docker
import pytest

from sandbox_service.backends.docker import DockerBackend, DockerSettings
from sandbox_service.backends.docker.engine import WORKERS, Engine
from sandbox_service.backends.docker.events import EngineEvents, EventListener
from sandbox_service.backends.docker.groups import ControlGroups, MemoryKills
from sandbox_service.backends.docker.uids import HIGHEST, LOWEST, UserIds
from sandbox_service.domain.errors import EngineUnavailable
from sandbox_service.domain.values import Limits, SandboxSpec, Template
from tests.contract.fake_agents import DiesAfterConnect

T = TypeVar("T")

# The docker client leaves the socket of a refused connection to the garbage collector.
leaves_a_socket = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture
def collected() -> Iterator[None]:
    """Garbage is collected here, and not in some other test."""
    yield
    gc.collect()


@leaves_a_socket
@pytest.mark.usefixtures("collected")
async def test_an_engine_that_is_away_is_unavailable(short_dir: Path) -> None:
    """Opening the backend says so; nothing is left behind."""
    settings = DockerSettings("test", short_dir / "run", base_url=f"unix://{short_dir}/none.sock")
    with pytest.raises(EngineUnavailable):
        async with DockerBackend.open(settings):
            pass
    assert not (short_dir / "run" / "test").exists()


@leaves_a_socket
@pytest.mark.usefixtures("collected")
async def test_an_engine_that_hangs_up_is_unavailable(short_dir: Path) -> None:
    """A connection that breaks is not an answer."""
    async with DiesAfterConnect(short_dir) as server:
        with pytest.raises(EngineUnavailable):
            async with Engine.open(f"unix://{server.path}", timeout_s=2):
                pass


async def test_calls_to_a_stuck_engine_do_not_pile_up() -> None:
    """When every thread is held by an overdue call the next one fails at once; later all is well."""
    release = threading.Event()
    client = docker.APIClient(base_url="unix:///nowhere.sock", version="1.41")
    engine = Engine(client, timeout_s=0.1)
    calls = [engine.call(lambda _: release.wait(30)) for _ in range(WORKERS)]
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert all(isinstance(outcome, EngineUnavailable) for outcome in outcomes)

    with pytest.raises(EngineUnavailable):
        await engine.call(lambda _: pytest.fail("this was started"))
    release.set()
    assert await answer_at_last(engine) == "answer"
    client.close()


async def answer_at_last(engine: Engine) -> str:
    """The first answer after the threads are free again."""
    async with asyncio.timeout(60):
        while True:
            with suppress(EngineUnavailable):
                return await engine.call(lambda _: "answer")
            await asyncio.sleep(0.01)


def event(action: str, container: str = "c1", **attributes: str) -> dict[str, object]:
    """As every engine since 20.10 sends it."""
    actor = {"ID": container, "Attributes": {"image": "sandbox", "name": "x", **attributes}}
    return {"Type": "container", "Action": action, "Actor": actor, "scope": "local"}


def event_before_29(action: str, container: str = "c1", **attributes: str) -> dict[str, object]:
    """The same with the names that engine 29 (API 1.52) left out."""
    older = {"status": action, "id": container, "from": "sandbox"}
    return {**older, **event(action, container, **attributes)}


@pytest.mark.parametrize("event", [event, event_before_29])
def test_events_are_counted_per_container(event: Callable[..., dict[str, object]]) -> None:
    """Kills and exits, each for its own container, until it is forgotten."""
    events = EngineEvents()
    for note in (event("oom"), event("oom"), event("oom", "c2"), event("die", exitCode="137")):
        events.note(note)
    assert (events.oom_kills("c1"), events.oom_kills("c2"), events.oom_kills("c3")) == (2, 1, 0)
    assert (events.exit_code("c1"), events.exit_code("c2")) == (137, None)
    events.forget("c1")
    assert (events.oom_kills("c1"), events.exit_code("c1")) == (0, None)


def test_events_out_of_order_are_all_taken_and_each_once() -> None:
    """The engine's times are not in order, and after a break some events are told again."""
    events = EngineEvents()
    listener = EventListener(None, "test", events.note)
    told = [
        {**event("oom", name), "timeNano": at} for name, at in (("c1", 5), ("c2", 3), ("c3", 3))
    ]
    for one in [*told, *told, {**event("oom", "c1"), "timeNano": 9}]:
        listener._take(one)
    assert [events.oom_kills(name) for name in ("c1", "c2", "c3")] == [2, 1, 1]


GROUPS = {
    "version 1": {
        "memory/docker/c1/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n",
        "cpuacct/docker/c1/cpuacct.usage": "1500000000\n",
    },
    "version 2 with systemd": {
        "cgroup.controllers": "cpu memory\n",
        "system.slice/docker-c1.scope/memory.events": "low 0\noom 4\noom_kill 3\n",
        "system.slice/docker-c1.scope/cpu.stat": "usage_usec 1500000\nuser_usec 1\n",
    },
}


@pytest.mark.parametrize("files", GROUPS.values(), ids=GROUPS)
def test_the_kernels_own_counts_are_read_where_the_engine_keeps_them(files, tmp_path) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
        (tmp_path / name).parent.parent.joinpath(Path(name).name).write_text(text)
    groups = ControlGroups(tmp_path)
    assert (groups.oom_kills("c1"), groups.cpu_s("c1")) == (3, 1.5)
    for unknown in ("gone", ""):
        assert (groups.oom_kills(unknown), groups.cpu_s(unknown)) == (None, None)


def test_memory_kills_go_on_from_the_kernels_count_when_the_group_is_gone(tmp_path) -> None:
    """An ended container has no group; what the engine tells late was counted before."""
    group = tmp_path / "memory/docker/c1/memory.oom_control"
    group.parent.mkdir(parents=True)
    group.write_text("oom_kill 1\n")
    events = EngineEvents()
    kills = MemoryKills(ControlGroups(tmp_path), events)
    assert kills.of("c1") == 1
    group.unlink()
    for told in (1, 2):
        events.note(event("oom"))
        assert kills.of("c1") == told


def test_counts_of_what_others_removed_are_forgotten() -> None:
    """What the engine had when it was asked before and has no more; of the rest all is kept."""
    events = EngineEvents()
    for container in ("c1", "c2", "new"):
        events.note(event("oom", container))
    events.note_found(frozenset({"c1", "c2"}))
    events.note_found(frozenset({"c2"}))
    assert [events.oom_kills(name) for name in ("c1", "c2", "new")] == [0, 1, 1]


def test_user_ids_are_high_and_unique_until_freed() -> None:
    """Two live sandboxes never share one."""
    uids = UserIds()
    taken = {uids.take(f"sb_{number}") for number in range(500)}
    assert len(taken) == 500
    assert all(LOWEST <= uid < HIGHEST for uid in taken)


def test_user_ids_are_free_when_another_process_stopped_their_sandbox() -> None:
    """One that was just made, and is in no answer of the engine's yet, keeps its own."""
    uids = UserIds()
    fresh = uids.take("sb_fresh")
    uids.note_found({"sb_1": 1, "sb_2": 2})
    uids.note_found({"sb_2": 2})
    assert uids.in_use == {2, fresh}


class RefusesRemoval(Engine):
    """An engine that cannot say that a container is gone."""

    async def call(self, operation: Callable[[docker.APIClient], T]) -> T:
        raise EngineUnavailable("the engine is away")


async def test_a_user_id_is_kept_until_its_sandbox_is_confirmed_gone(short_dir: Path) -> None:
    """While the engine does not answer, the sandbox may still run as that user."""
    client = docker.APIClient(base_url="unix:///nowhere.sock", version="1.41")
    settings = DockerSettings("test", short_dir)
    uids = UserIds()
    backend = DockerBackend(settings, RefusesRemoval(client, 1), EngineEvents(), uids)
    spec = SandboxSpec(sandbox_id="sb_1", template=Template(), limits=Limits())
    async with aclosing(backend.start(spec)) as refs:
        ref = await anext(refs)
    with pytest.raises(EngineUnavailable):
        await backend.stop(ref)
    assert uids.in_use == {ref.uid}
    client.close()
