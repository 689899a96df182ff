"""Floods: each ends in a documented outcome within a bound, and the neighbour's cells go on meanwhile."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx
import pytest

from sandbox_service.domain.values import MIB
from tests.security.conftest import RUNTIMES, Prisoner
from tests.support.service import ServiceProcess

ANSWER_WITHIN_S = 30.0
FLOOD_WITHIN_S = 120.0
TIMEOUT_S = 2.0
ENDS_S = 60.0  # for what ends by itself
pytestmark = pytest.mark.alone
SERVICE_MAX_BYTES = 600 * MIB
LIMITS = {"memory_bytes": 512 * MIB, "workspace_bytes": 64 * MIB, "pids": 128, "output_bytes": MIB}
ENDED = frozenset({"ok", "error"})
CUT = frozenset({"timeout", "out_of_memory"})
STOPPED = frozenset({"timeout", "error", "kernel_died", "out_of_memory"})


@dataclass(frozen=True, slots=True)
class Flood:
    """What floods, and how it may end. Under gVisor whatever fills the memory may end the sandbox."""

    name: str
    code: str
    outcomes: frozenset[str]
    is_for_gvisor: bool = False
    timeout_s: float = TIMEOUT_S


FORKS = """
import os
while True:
    try: os.fork()
    except OSError: pass
"""
MEMORY = """
held = []
while True: held.append(b'x' * (16 << 20))
"""
MEMORY_OF_MANY = """
import os
for _ in range(8): os.fork()
held = b'x' * (1 << 30)
"""
TEXT = "while True: print('x' * 10000)"
ONE_LINE = "print('x' * (100 << 20))"
DISPLAYS = """
from IPython.display import display, HTML
while True: display(HTML('<p>x</p>'))
"""
COMMS = """
from comm import create_comm
while True: create_comm(target_name='x', data={'a': 'b' * 1000})
"""
FIGURES = """
from IPython.display import display
for _ in range(10): display({'image/png': 'A' * (20 << 20)}, raw=True)
"""
DEEP_JSON = """
from IPython.display import display
nested = []
for _ in range(900): nested = [nested]
display({'application/json': nested}, raw=True)
"""
WORKSPACE = """
with open('full', 'wb') as file:
    while True: file.write(b'x' * (1 << 20))
"""
FILES = """
import os
os.makedirs('many', exist_ok=True)
number = 0
while True:
    open(f'many/{number}', 'w').close()
    number += 1
"""
DESCRIPTORS = """
held = []
while True: held.append(open('/dev/null'))
"""
THREADS = """
import threading, time
while True: threading.Thread(target=time.sleep, args=(3,), daemon=True).start()
"""
PROCESSOR = """
import numpy as np
while True: np.ones((500, 500)) @ np.ones((500, 500))
"""
SIGNALS = """
import signal
signal.signal(signal.SIGINT, signal.SIG_IGN)
while True: pass
"""
SPARSE_FILE = "with open('sparse', 'wb') as file: file.truncate(400 << 30)"
SPARSE_FILES = """
for number in range(20):
    with open(f'sparse-{number}', 'wb') as file: file.truncate(60 << 20)
"""
ZIP_BOMB = """
import zipfile
with zipfile.ZipFile('bomb.zip', 'w', zipfile.ZIP_DEFLATED) as archive:
    for number in range(20): archive.writestr(str(number), b'0' * (10 << 20))
"""
NAMES = """
import os
for number in range(3000): open('n' * 200 + str(number), 'w').close()
"""
DEEP_FOLDERS = """
import os
for _ in range(3000):
    os.mkdir('d')
    os.chdir('d')
os.chdir('/mnt/data')
"""
FLOODS = [
    Flood("processes", FORKS, STOPPED, is_for_gvisor=True),
    Flood("memory", MEMORY, frozenset({"out_of_memory"}), is_for_gvisor=True, timeout_s=ENDS_S),
    Flood("memory of many", MEMORY_OF_MANY, STOPPED | ENDED),
    Flood("text", TEXT, CUT, is_for_gvisor=True),
    Flood("one line", ONE_LINE, ENDED | CUT),
    Flood("displays", DISPLAYS, CUT),
    Flood("comm messages", COMMS, CUT),
    Flood("huge figures", FIGURES, ENDED | CUT),
    Flood("deep JSON", DEEP_JSON, ENDED, timeout_s=ENDS_S),
    Flood("workspace", WORKSPACE, frozenset({"error"}), is_for_gvisor=True, timeout_s=ENDS_S),
    Flood("files", FILES, STOPPED, is_for_gvisor=True),
    Flood("descriptors", DESCRIPTORS, frozenset({"error"}), is_for_gvisor=True, timeout_s=ENDS_S),
    Flood("threads", THREADS, STOPPED),
    Flood("processor", PROCESSOR, frozenset({"timeout"})),
    Flood("signals", SIGNALS, frozenset({"timeout"})),
    Flood("sparse file", SPARSE_FILE, ENDED, is_for_gvisor=True, timeout_s=ENDS_S),
    Flood("sparse files", SPARSE_FILES, ENDED, timeout_s=ENDS_S),
    Flood("zip bomb", ZIP_BOMB, ENDED, timeout_s=ENDS_S),
    Flood("names", NAMES, ENDED, timeout_s=ENDS_S),
    Flood("deep folders", DEEP_FOLDERS, ENDED, is_for_gvisor=True, timeout_s=ENDS_S),
]
CLEAR = """
import gc, os, shutil
held = None
gc.collect()
for name in os.listdir('/mnt/data'):
    path = os.path.join('/mnt/data', name)
    shutil.rmtree(path) if os.path.isdir(path) else os.unlink(path)
"""


class Hostile:
    """A session that floods; opened anew when a flood has taken its sandbox down."""

    def __init__(self, client: httpx.AsyncClient, runtime: str) -> None:
        self.client = client
        self._body = {"template": RUNTIMES[runtime], "limits": LIMITS}
        self.session_id = ""

    async def open(self) -> None:
        answer = await self.client.post("/v1/sessions", json=self._body)
        assert answer.status_code == 201, answer.text
        self.session_id = answer.json()["id"]

    async def close(self) -> None:
        await self.client.delete(f"/v1/sessions/{self.session_id}")

    async def outcome_of(self, code: str, timeout_s: float = TIMEOUT_S) -> str:
        """How the execution ended."""
        url = f"/v1/sessions/{self.session_id}/executions"
        answer = await self.client.post(url, json={"code": code, "timeout_s": timeout_s})
        assert answer.status_code == 200, answer.text
        return str(answer.json()["status"])

    async def goes_on(self) -> bool:
        """Whether the next cell is answered, after the flood's remains are cleared away."""
        return [await self.outcome_of(code, ENDS_S) for code in (CLEAR, "print(2)")] == ["ok", "ok"]


@pytest.fixture(scope="module")
async def hostile(warden: httpx.AsyncClient, runtime: str) -> AsyncIterator[Hostile]:
    session = Hostile(warden, runtime)
    await session.open()
    yield session
    await session.close()


@asynccontextmanager
async def watched(neighbour: Prisoner) -> AsyncIterator[list[float]]:
    """How long each of the neighbour's cells took, for as long as the block runs."""
    taken: list[float] = []
    first = asyncio.Event()

    async def ask_again_and_again() -> None:
        while True:
            started = time.monotonic()
            async with asyncio.timeout(ANSWER_WITHIN_S):
                assert await neighbour.says("print(1)") == "1\n"
            taken.append(time.monotonic() - started)
            first.set()
            await asyncio.sleep(0.05)

    async with asyncio.TaskGroup() as group:
        asking = group.create_task(ask_again_and_again())
        await first.wait()
        yield taken
        asking.cancel()


def resident_bytes(pid: int) -> int:
    with open(f"/proc/{pid}/status") as file:
        [line] = [line for line in file if line.startswith("VmRSS")]
    return int(line.split()[1]) * 1024


@pytest.mark.parametrize("flood", FLOODS, ids=lambda flood: flood.name.replace(" ", "-"))
async def test_a_flood_ends_and_the_neighbour_goes_on(
    prison: ServiceProcess, hostile: Hostile, neighbour: Prisoner, runtime: str, flood: Flood
) -> None:
    """A documented outcome in time; the neighbour's cells and the API answer all the while."""
    if runtime == "runsc" and not flood.is_for_gvisor:
        pytest.skip("asked on runc; what differs under gVisor is asked there")
    async with watched(neighbour) as taken, asyncio.timeout(FLOOD_WITHIN_S):
        outcome = await hostile.outcome_of(flood.code, flood.timeout_s)
        listed = await hostile.client.get("/v1/sessions")
    assert outcome in flood.outcomes | ({"out_of_memory"} if runtime == "runsc" else set())
    assert listed.status_code == 200
    assert await hostile.goes_on()
    assert resident_bytes(prison.pid) < SERVICE_MAX_BYTES
    figures = f"worst {max(taken):.3f} s, service {resident_bytes(prison.pid) >> 20} MiB"
    print(f"{runtime:6} {flood.name:16} {outcome:14} {figures}")
