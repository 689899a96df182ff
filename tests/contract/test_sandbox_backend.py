"""What every sandbox backend promises of starting, finding, reporting and stopping."""

import asyncio
import os
import stat
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from sandbox_service.domain.errors import (
    RuntimeUnavailable,
    SandboxLost,
    SandboxStartFailed,
)
from sandbox_service.domain.values import (
    MIB,
    Limits,
    SandboxRef,
    SandboxReport,
    SandboxSpec,
    SandboxState,
    Template,
)
from tests.contract.backend_fixtures import (
    House,
    end_of,
    execute,
    has_processes,
    kill_agent,
    started,
    stdout,
)

CHECKPOINTS = 3
WORD_STEPS = 3000


async def start_up_to(house: House, spec: SandboxSpec, checkpoints: int) -> SandboxRef:
    """Start, and leave after so many checkpoints."""
    async with aclosing(house.backend.start(spec)) as refs:  # type: ignore[type-var]
        taken: list[SandboxRef] = []
        async for ref in refs:
            taken.append(ref)
            if len(taken) == checkpoints:
                return ref
    raise AssertionError(f"the start yielded {len(taken)} references")


async def is_gone(house: House, ref: SandboxRef) -> bool:
    found = {other.sandbox_id for other in await house.backend.find()}
    is_left = Path(ref.address).parent.exists() or has_processes(ref)
    report = await house.backend.report(ref)
    return ref.sandbox_id not in found and not is_left and report.state is SandboxState.MISSING


async def test_a_start_yields_a_reference_per_step_and_the_last_answers(house: House) -> None:
    """Directory, container or process, answering agent: each reference knows what there is."""
    refs = [ref async for ref in house.backend.start(house.spec())]
    sandbox = await house.backend.connect(refs[-1])
    health = await sandbox.kernel.health()
    await sandbox.close()
    await house.backend.stop(refs[-1])
    assert (health.state, health.incarnation) == ("idle", 1)
    assert len(refs) == CHECKPOINTS
    assert [bool(ref.engine_id) for ref in refs] == [False, True, True]
    assert len({(ref.sandbox_id, ref.address, ref.uid) for ref in refs}) == 1


@pytest.mark.parametrize("checkpoints", range(1, CHECKPOINTS + 1))
async def test_a_stop_after_any_checkpoint_leaves_nothing(house: House, checkpoints: int) -> None:
    """No container, no process, no directory; and a second stop is no error."""
    ref = await start_up_to(house, house.spec(), checkpoints)
    await house.backend.stop(ref)
    await house.backend.stop(ref)
    assert await is_gone(house, ref)


@pytest.mark.parametrize("delay_s", [0.0, 0.01, 0.03, 0.1])
async def test_a_stop_after_a_cancelled_start_leaves_nothing(house: House, delay_s: float) -> None:
    """Whatever was in flight when the caller left is found and removed."""
    seen: list[SandboxRef] = []

    async def start() -> None:
        async for ref in house.backend.start(spec):
            seen.append(ref)
            placed.set()

    placed = asyncio.Event()
    spec = house.spec()
    task = asyncio.create_task(start())
    await placed.wait()
    await asyncio.sleep(delay_s)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await house.backend.stop(seen[0])
    assert await is_gone(house, seen[-1])


async def test_find_gives_back_what_was_started(house: House) -> None:
    """A second backend over the same state finds the reference with its labels and can connect."""
    async with started(house, house.spec(session="s1", tenant="t1")) as ref:
        successor = await house.reopen()
        found = {other.sandbox_id: other for other in await successor.find()}[ref.sandbox_id]
        assert (found.address, found.uid, found.labels) == (ref.address, ref.uid, ref.labels)
        assert found.is_running
        assert (await successor.report(found)).state is SandboxState.RUNNING
        sandbox = await successor.connect(found)
        assert stdout(await execute(sandbox, "print(6 * 7)")) == "42\n"
        await sandbox.close()


async def test_labels_given_while_it_runs_are_found_with_those_of_its_start(house: House) -> None:
    """The last ones count; a second backend over the same state finds them; a stop takes them away."""
    async with started(house, house.spec(session="s1")) as ref:
        for value in ("first", "é" * 5000):
            await house.backend.label(ref, {"record": value})
        successor = await house.reopen()
        found = {other.sandbox_id: other for other in await successor.find()}[ref.sandbox_id]
        assert found.labels == {"session": "s1", "record": "é" * 5000}
        sandbox = await successor.connect(found)
        seen = await execute(sandbox, "import os; print(os.listdir('/run/agent'))")
        await sandbox.close()
    assert "labels" not in stdout(seen)
    assert [path.name for path in house.state_dir.glob(f"*{ref.sandbox_id}*")] == []


async def test_what_does_not_run_any_more_is_found_and_said_not_to(house: House) -> None:
    """So that a reaper can tell a sandbox from what is left of one."""
    async with started(house, house.spec()) as ref:
        kill_agent(house, ref)
        async with asyncio.timeout(60):
            while (await found_again(house, ref)).is_running:
                await asyncio.sleep(0.02)


async def test_connecting_to_what_is_not_there_is_a_lost_sandbox(house: House) -> None:
    """Before the start, and after the stop."""
    ref = await start_up_to(house, house.spec(), 1)
    with pytest.raises(SandboxLost):
        await house.backend.connect(ref)
    await house.backend.stop(ref)
    with pytest.raises(SandboxLost):
        await house.backend.connect(ref)


async def test_a_running_sandbox_is_reported_so(house: House, live_ref: SandboxRef) -> None:
    """Running, no exit code."""
    report = await house.backend.report(live_ref)
    assert (report.state, report.exit_code) == (SandboxState.RUNNING, None)


async def test_a_sandbox_whose_agent_was_killed_has_exited(house: House) -> None:
    """The engine's word, with the exit code of SIGKILL; the line is lost."""
    async with started(house, house.spec()) as ref:
        sandbox = await house.backend.connect(ref)
        running = asyncio.create_task(execute(sandbox, "import time; time.sleep(60)"))
        await asyncio.sleep(0.1)
        kill_agent(house, ref)
        with pytest.raises(SandboxLost):
            await running
        await sandbox.close()
        report = await exited(house, ref)
    assert (report.state, report.exit_code) == (SandboxState.EXITED, 137)


async def test_sandboxes_share_nothing(house: House, live: Any) -> None:
    """Two sandboxes have their own variables, files and, where there is isolation, users."""
    async with started(house, house.spec()) as ref:
        other = await house.backend.connect(ref)
        await execute(other, "secret = 1; open('secret.txt', 'w').write('x')")
        lines = await execute(live, "import os; print('secret' in globals(), os.listdir('.'))")
        await other.close()
    assert stdout(lines).startswith("False")
    assert "secret.txt" not in stdout(lines)


async def test_resize_says_whether_it_was_done(house: House, live_ref: SandboxRef) -> None:
    """runc changes a running container; gVisor cannot, and a local process has no limits."""
    limits = Limits(memory_bytes=900 * MIB, cpus=0.5, pids=100)
    assert await house.backend.resize(live_ref, limits) is (house.kind == "docker")


async def test_an_agent_that_does_not_start_is_said_so(house: House) -> None:
    """An image that is not there names the command that builds it."""
    if not house.is_isolated:
        pytest.skip("a local backend has no images")
    missing = house.spec().model_copy(update={"template": Template(image="not-there:never")})
    with pytest.raises(SandboxStartFailed) as caught:
        await start_up_to(house, missing, CHECKPOINTS)
    await house.backend.stop(SandboxRef(sandbox_id=missing.sandbox_id))
    assert caught.value.code == "image_missing"
    assert "not-there:never" in caught.value.message


async def test_a_runtime_that_is_not_there_is_said_so(house: House) -> None:
    """Never a silent fall-back to another one."""
    if not house.is_isolated:
        pytest.skip("a local backend has no runtimes")
    absent = house.spec().model_copy(update={"template": Template(runtime="not-there")})
    with pytest.raises(RuntimeUnavailable):
        await start_up_to(house, absent, CHECKPOINTS)
    await house.backend.stop(SandboxRef(sandbox_id=absent.sandbox_id))


async def test_the_control_directory_is_sealed_when_a_sandbox_is_up(
    house: House, live: Any
) -> None:
    """The place where the service connects is sealed."""
    if not house.is_isolated:
        pytest.skip("a local backend has no isolation")
    lines = await execute(live, "import os; os.rename('/run/agent/agent.sock', '/run/agent/x')")
    assert "PermissionError" in str(lines)


async def test_the_control_directorys_mode_lets_the_sandbox_only_pass(
    house: House, live_ref: SandboxRef
) -> None:
    """0711: through, but neither in nor out."""
    if not house.is_isolated:
        pytest.skip("a local backend has no isolation")
    assert stat.S_IMODE(os.stat(Path(live_ref.address).parent).st_mode) == 0o711


async def test_what_a_sandbox_uses_between_its_cells_is_counted(
    house: House, live: Any, live_ref: SandboxRef
) -> None:
    """By the host's groups and by the engine alike, also of a process that no cell waits for."""
    if not house.is_isolated:
        assert await house.backend.cpu_s(live_ref) is None
        return
    await execute(live, "import subprocess, sys")
    before_s = await house.backend.cpu_s(live_ref)
    burn = "import time\nwhile time.process_time() < 0.5: pass"
    await execute(live, f"process = subprocess.Popen([sys.executable, '-c', {burn!r}])")
    async with asyncio.timeout(60):
        while await house.backend.cpu_s(live_ref) < before_s + 0.4:
            await asyncio.sleep(0.1)
    asked_s = await house.backend._engine.cpu_s(live_ref.engine_id)
    assert asked_s >= before_s + 0.4
    assert await house.backend._engine.cpu_s("no-such-container") is None


async def test_out_of_memory_is_counted_by_the_engine(house: House) -> None:
    """A kernel killed for memory raises the count; one that kills itself does not."""
    if house.kind != "docker":
        pytest.skip("a local backend limits no memory; gVisor ends the whole sandbox")
    async with started(house, house.spec()) as ref:
        sandbox = await house.backend.connect(ref)
        suicide = end_of(await execute(sandbox, "import os; os.kill(os.getpid(), 9)"))
        counted = (await house.backend.report(ref)).oom_kills
        killed = end_of(await execute(sandbox, "x = bytearray(3 << 30)"))
        after = await counted_above(house, ref, counted)
        await sandbox.close()
    assert (suicide.exit_signal, counted) == (9, 0)
    assert (killed.exit_signal, after) == (9, 1)


async def test_out_of_memory_under_gvisor_ends_the_sandbox(house: House) -> None:
    """The guest's kernel is one process of the host's: the engine kills it and counts the kill."""
    if house.kind != "gvisor":
        pytest.skip("elsewhere the kernel of the session is killed alone")
    async with started(house, house.spec()) as ref:
        sandbox = await house.backend.connect(ref)
        with pytest.raises(SandboxLost):
            await execute(sandbox, "x = b'x' * (3 << 30)")
        await sandbox.close()
        report = await exited(house, ref)
    assert (report.state, report.exit_code, report.oom_kills) == (SandboxState.EXITED, 137, 1)


async def found_again(house: House, ref: SandboxRef) -> SandboxRef:
    return {other.sandbox_id: other for other in await house.backend.find()}[ref.sandbox_id]


async def exited(house: House, ref: SandboxRef) -> SandboxReport:
    """The first report that does not say running."""
    for _ in range(WORD_STEPS):
        report = await house.backend.report(ref)
        if report.state is not SandboxState.RUNNING:
            break
        await asyncio.sleep(0.02)
    return report


async def counted_above(house: House, ref: SandboxRef, count: int) -> int:
    """The engine's word can come a moment after the kernel's death."""
    for _ in range(WORD_STEPS):
        report = await house.backend.report(ref)
        if report.oom_kills > count:
            break
        await asyncio.sleep(0.02)
    return report.oom_kills
