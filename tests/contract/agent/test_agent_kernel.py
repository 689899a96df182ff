"""The kernel's lives: interrupted, restarted, dead and forked afresh."""

import asyncio
import os
import signal
from collections.abc import Callable
from uuid import uuid4

import pytest

from tests.contract.agent.agent_process import AgentProcess, Line, Result

SEEDS = """
import random, tempfile, uuid, multiprocessing
import numpy as np
print(random.random(), np.random.rand(), np.random.RandomState().rand(),
      np.random.default_rng().random(), uuid.uuid4(), tempfile.mktemp(),
      multiprocessing.current_process().authkey.hex(), sep="\\n")
"""


@pytest.mark.parametrize(
    "code",
    [
        "import time; print('up', flush=True); time.sleep(60)",
        "print('up', flush=True)\nwhile True: pass",
        "import subprocess; print('up', flush=True); subprocess.run(['sleep', '60'])",
        "import asyncio; print('up', flush=True); await asyncio.sleep(60)",
    ],
    ids=["sleep", "busy loop", "subprocess", "await"],
)
async def test_an_interrupt_ends_the_cell_and_keeps_the_state(
    agent: AgentProcess, code: str
) -> None:
    """The cell ends with an error; the next one runs on the same kernel."""
    await agent.run("kept = 'still here'")
    lines: list[Line] = []
    name = uuid4().hex
    async for line in agent.lines(code, execution_id=name):
        lines.append(line)
        if line.get("header", {}).get("msg_type") == "stream":
            await agent.value("POST", "interrupt", {"execution_id": name})
    assert Result(lines).error in ("KeyboardInterrupt", "CancelledError")
    assert (await agent.run("print(kept)")).text == "still here\n"


async def test_an_interrupt_of_an_idle_kernel_does_nothing(agent: AgentProcess) -> None:
    """Nothing runs, so nothing ends."""
    for body in ({}, {"execution_id": "none"}):
        await agent.value("POST", "interrupt", body)
    assert (await agent.run("print(1)")).text == "1\n"


@pytest.mark.parametrize("call", ["interrupt", "restart"])
async def test_what_is_meant_for_another_execution_does_nothing(
    agent: AgentProcess, call: str
) -> None:
    """A late request, for one that has ended, must not hit the one that runs now."""
    incarnation = (await agent.kernel())["incarnation"]
    await agent.run("kept = 1", execution_id=f"ended-{call}")
    body = {"execution_id": f"ended-{call}", "incarnation": incarnation}
    lines: list[Line] = []
    code = "import time; print('up', flush=True); time.sleep(0.5); print(kept)"
    async for line in agent.lines(code):
        lines.append(line)
        if line.get("header", {}).get("msg_type") == "stream":
            answer = await agent.value("POST", call, body)
            assert answer in ({}, {"incarnation": incarnation})
    assert Result(lines).text == "up\n1\n"


async def test_a_restart_for_the_execution_that_runs_ends_it(agent: AgentProcess) -> None:
    incarnation = (await agent.kernel())["incarnation"]
    name = uuid4().hex
    lines: list[Line] = []
    async for line in agent.lines("print('up', flush=True)\nwhile True: pass", execution_id=name):
        lines.append(line)
        if line.get("header", {}).get("msg_type") == "stream":
            body = {"execution_id": name, "incarnation": incarnation}
            assert await agent.value("POST", "restart", body) == {"incarnation": incarnation + 1}
    assert Result(lines).end["reason"] == "kernel_died"


async def test_a_restart_forks_the_next_kernel(agent: AgentProcess) -> None:
    """The state is gone, and the number of the kernel is the next one."""
    before = (await agent.kernel())["incarnation"]
    await agent.run("gone = 1")
    assert await agent.restart() == before + 1
    assert (await agent.run("gone")).error == "NameError"


async def test_a_restart_of_another_kernel_than_the_current_does_nothing(
    agent: AgentProcess,
) -> None:
    """A late request must not kill the kernel that came after."""
    await agent.run("kept = 1")
    incarnation = (await agent.kernel())["incarnation"]
    answer = await agent.value("POST", "restart", {"incarnation": incarnation - 1})
    assert answer == {"incarnation": incarnation}
    assert (await agent.run("print(kept)")).text == "1\n"


async def test_restarts_at_once_are_one(agent: AgentProcess) -> None:
    """Ten requests for the same kernel kill one kernel."""
    before = (await agent.kernel())["incarnation"]
    body = {"incarnation": before}
    answers = await asyncio.gather(*(agent.value("POST", "restart", body) for _ in range(10)))
    assert answers == [{"incarnation": before + 1}] * 10


async def test_a_restart_kills_what_the_user_started(agent: AgentProcess) -> None:
    """Processes that left the kernel's session are gone too."""
    code = """
import subprocess
print(subprocess.Popen(["sleep", "600"]).pid)
print(subprocess.Popen(["setsid", "sleep", "600"], start_new_session=True).pid)
"""
    pids = [int(pid) for pid in (await agent.run(code)).text.split()]
    await agent.restart()
    assert not list(filter(_lives, pids))


async def test_a_restart_ends_the_running_execution(agent: AgentProcess) -> None:
    """Its last line says that the kernel died, by which signal, and what comes next."""
    before = (await agent.kernel())["incarnation"]
    lines: list[Line] = []
    async for line in agent.lines("print('up', flush=True)\nwhile True: pass"):
        lines.append(line)
        if line.get("header", {}).get("msg_type") == "stream":
            restart = asyncio.ensure_future(agent.value("POST", "restart", {"incarnation": before}))
    end = Result(lines).end
    assert (end["reason"], end["incarnation"]) == ("kernel_died", before + 1)
    assert end["exit"] == {"signal": 9, "code": None}
    assert await restart == {"incarnation": before + 1}


@pytest.mark.parametrize(
    ("code", "exit_"),
    [
        ("import os; os._exit(1)", {"signal": None, "code": 1}),
        ("import os; os.kill(os.getpid(), 9)", {"signal": 9, "code": None}),
        ("import ctypes; ctypes.string_at(0)", {"signal": 11, "code": None}),
    ],
    ids=["os._exit", "kill -9", "segmentation fault"],
)
async def test_a_death_is_reported_and_the_next_cell_works(
    agent: AgentProcess, code: str, exit_: Line
) -> None:
    """What was printed before is kept; the next kernel comes by itself."""
    before = (await agent.kernel())["incarnation"]
    heard = agent.workspace / "heard"
    waits = f"import os, time\nwhile not os.path.exists({str(heard)!r}): time.sleep(0.01)\n"
    lines: list[Line] = []
    async for line in agent.lines(f"print('last words', flush=True)\n{waits}{code}"):
        lines.append(line)
        if line.get("header", {}).get("msg_type") == "stream":
            heard.touch()
    heard.unlink()
    result = Result(lines)
    assert result.text == "last words\n"
    assert result.end["reason"] == "kernel_died"
    assert result.end["exit"] == exit_
    assert result.end["incarnation"] == before + 1
    after = await agent.run("print('alive')")
    assert after.text == "alive\n"
    assert after.end["incarnation"] == before + 1


async def test_a_kernel_inherits_no_randomness(agent: AgentProcess) -> None:
    """No generator gives the same value in two kernels."""
    first = (await agent.run(SEEDS)).text.split()
    await agent.restart()
    second = (await agent.run(SEEDS)).text.split()
    assert len(first) == len(second) == 7
    assert not set(first) & set(second)


async def test_a_kernel_inherits_no_descriptor(agent: AgentProcess) -> None:
    """Every descriptor is the kernel's own, its fonts included: no line to the agent."""
    await agent.restart()
    result = await agent.run(
        "import os\nfor fd in sorted(map(int, os.listdir('/proc/self/fd'))):\n"
        "    try: print(fd, os.readlink(f'/proc/self/fd/{fd}'))\n"
        "    except OSError: pass"
    )
    kinds = {line.split(" ", 1)[1].split(":")[0] for line in result.text.splitlines()}
    opened = {kind for kind in kinds if "/fonts/" not in kind}
    assert opened <= {"/dev/null", "anon_inode", "pipe", "socket"}
    peers = await agent.run(
        "import socket\nkinds = set()\nfor fd in map(int, os.listdir('/proc/self/fd')):\n"
        "    try: one = socket.socket(fileno=os.dup(fd))\n"
        "    except OSError: continue\n"
        "    kinds.add(one.type.name)\n"
        "print(*kinds)"
    )
    assert "SOCK_SEQPACKET" not in peers.text


async def test_signals_are_as_in_any_program(agent: AgentProcess) -> None:
    """Nothing of the zygote's handling is left."""
    code = (
        "import signal\n"
        "print(signal.getsignal(signal.SIGCHLD), signal.getsignal(signal.SIGTERM),\n"
        "      signal.set_wakeup_fd(-1))"
    )
    result = await agent.run(code)
    assert result.text.startswith("0 0") or result.text.startswith("Handlers.SIG_DFL")


async def test_processes_and_threads_work(agent: AgentProcess) -> None:
    """A pool of processes, fresh interpreters and threads, and what they print."""
    code = """
import math, threading
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
with get_context("fork").Pool(2) as pool: print(pool.map(math.factorial, [3, 4]))
with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
    print(pool.submit(math.sqrt, 9).result())
for worker in threading.Thread, get_context("fork").Process:
    one = worker(target=lambda: print(worker.__name__, flush=True))
    one.start(); one.join()
"""
    result = await agent.run(code)
    assert result.status == "ok", result.contents("error")
    assert {"[6, 24]", "3.0", "Thread", "ForkProcess"} <= set(result.text.split("\n"))


async def test_the_notebooks_own_commands_work(agent: AgentProcess) -> None:
    """Magics and shell lines, run in the workspace."""
    result = await agent.run("%timeit -n1 -r1 pass\n!pwd\n%cd -q /\n")
    assert str(agent.workspace) in result.text
    assert result.status == "ok"
    await agent.run(f"%cd -q {agent.workspace}")


async def test_code_runs_as_main_in_the_workspace(agent: AgentProcess) -> None:
    """As a script would: the name, the folder, and nothing of ours on the path."""
    await agent.restart()
    result = await agent.run(
        "import os, sys; print(__name__, os.getcwd(), sys.argv, '' in sys.path)"
    )
    assert result.text == f"__main__ {agent.workspace} [''] True\n"
    result = await agent.run("print([p for p in sys.path if 'images' in p or 'sandbox' in p])")
    assert result.text == "[]\n"


async def test_health_says_what_the_kernel_does(agent: AgentProcess) -> None:
    """Idle, busy and idle again; each recent execution with its last seq."""
    code = "open('begun', 'w').close()\nimport os, time\nwhile not os.path.exists('go'): time.sleep(0.01)"
    running = asyncio.ensure_future(agent.run(code, execution_id="watched"))
    await until((agent.workspace / "begun").exists)
    assert (await agent.kernel(wait_s=0))["state"] == "busy"
    (agent.workspace / "go").touch()
    assert (await agent.kernel())["state"] == "idle"
    health = await agent.value("GET", "health")
    last = (await running).end["seq"]
    assert {"id": "watched", "state": "finished", "last_seq": last} in health["executions"]


async def test_a_dead_zygote_is_replaced(own_agent: AgentProcess) -> None:
    """The kernel lives on; the next one comes from a new zygote."""
    assert (await own_agent.kernel())["state"] == "idle"
    await own_agent.run("kept = 1")
    zygote = int((await own_agent.run("import os; print(os.getppid())")).text)
    os.kill(zygote, signal.SIGKILL)
    assert (await own_agent.run("print(kept)")).text == "1\n"
    result = await own_agent.run("import os; os._exit(7)")
    assert result.end["exit"] == {"signal": None, "code": 7}
    assert (await own_agent.run("print('alive')")).text == "alive\n"


async def test_an_agent_that_is_stopped_leaves_nothing(own_agent: AgentProcess) -> None:
    """No process, no socket, no folder of its own."""
    await own_agent.kernel()
    code = "import os, subprocess; print(os.getpid(), subprocess.Popen(['sleep', '600']).pid)"
    pids = (await own_agent.run(code)).text.split()
    assert all(map(_lives, pids))
    own_agent.process.terminate()
    assert await own_agent.process.wait() == 0
    await until(lambda: not list(filter(_lives, pids)))
    assert sorted(path.name for path in own_agent.root.iterdir()) == ["home", "tmp", "workspace"]
    assert list((own_agent.root / "tmp").iterdir()) == []


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not is_so():
            await asyncio.sleep(0.02)


def _lives(pid: int | str) -> bool:
    """Whether there is such a process that is not a zombie."""
    return os.path.exists(f"/proc/{pid}/cwd")
