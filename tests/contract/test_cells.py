"""What people write into cells, and what it must give, over every backend."""

from dataclasses import dataclass

import pytest

from sandbox_service.domain.ports import ExecutionLine, KernelMessage, Sandbox
from tests.contract.backend_fixtures import House, end_of, execute, stdout


@dataclass(frozen=True, slots=True)
class Case:
    """Cells, and what the last one shows: `<image/png>` for a picture, `!Name` for an error."""

    cells: tuple[str, ...]
    shown: str
    needs_image: bool = False


PRELUDE = """
import asyncio, os, subprocess, sys
import matplotlib, matplotlib.pyplot as plt
async def main(): return 1
"""

TABLE = {
    "standard output and error keep their order": Case(
        ("for i in range(2): print(i); print(i, file=sys.stderr)",), "0\n0\n1\n1\n"
    ),
    "print, a child, the descriptor, in order": Case(
        (
            "print('a'); subprocess.run(['echo', 'b'])\n"
            "print('c'); os.write(1, b'd\\n'); print('e', file=sys.stderr); os.write(2, b'f\\n')\n"
            "print('g')",
        ),
        "a\nb\nc\nd\ne\nf\ng\n",
    ),
    "what C code prints": Case(
        ("import ctypes\nc = ctypes.CDLL(None); c.puts(b'a'); print('b'); c.printf(b'c'); None",),
        "a\nb\nc",
    ),
    "a wrapper of one's own around the buffer": Case(
        (
            "import io\nsys.stdout = io.TextIOWrapper(sys.stdout.buffer, encoding='utf-8')\n"
            "print('a'); sys.stdout.detach(); sys.stdout = sys.__stdout__\nprint('b')",
        ),
        "a\nb\n",
    ),
    "another encoding, and bytes": Case(
        (
            "sys.stdout.reconfigure(encoding='utf-8')\n"
            "sys.stdout.buffer.write('é\\n'.encode()); sys.stdout.close(); print('after')",
        ),
        "é\nafter\n",
    ),
    "half a character": Case(("print('\\ud83d\\ude00', '\\ud800')",), "😀 �\n"),
    "half a character in an error": Case(("raise ValueError('\\ud800')",), "!ValueError"),
    "a byte order mark": Case(("\ufeffprint(1)",), "1\n"),
    "asyncio.run": Case(
        ("print(asyncio.run(main()), await main())",),
        "1 1\n",
    ),
    "a loop of one's own": Case(
        (
            "print(asyncio.new_event_loop().run_until_complete(main()),\n"
            "      asyncio.get_event_loop().run_until_complete(main()))\n"
            "with asyncio.Runner() as runner: print(runner.run(main()))",
        ),
        "1 1\n1\n",
    ),
    "a task of the kernel's loop goes on in the next cell": Case(
        ("task = asyncio.create_task(main())", "asyncio.run(main()); print(await task)"), "1\n"
    ),
    "exit ends the cell": Case(("x = 1\nexit()\nx = 2",), "!SystemExit"),
    "exit keeps the state": Case(("x = 1", "quit(3)", "exit", "print(x)"), "1\n"),
    "a figure under Agg": Case(
        ("matplotlib.use('Agg'); plt.plot([1])\nplt.show()",),
        "<image/png>",
    ),
    "a figure under Agg that is not shown": Case(
        ("matplotlib.use('Agg'); f = plt.plot([1])",), "<image/png>"
    ),
    "a figure under a backend that needs a screen": Case(
        ("matplotlib.use('TkAgg'); f = plt.plot([1]); plt.show()",), "<image/png>"
    ),
    "a child prints while the next cell runs": Case(
        (
            "import pathlib; go = pathlib.Path('go')\n"
            "code = 'import os, time\\nwhile not os.path.exists(\"go\"): time.sleep(0.01)\\nprint(1)'\n"
            "child = subprocess.Popen([sys.executable, '-c', code])",
            "go.touch(); child.wait(); go.unlink()",
        ),
        "1\n",
    ),
    "a child prints between two cells": Case(
        (
            "import threading\nout, into = os.pipe()\n"
            "child = subprocess.Popen('read line; echo late', shell=True, stdin=out)\n"
            "threading.Timer(0.01, os.write, (into, b'go\\n')).start()",
            "child.wait(); print('next')",
        ),
        "late\nnext\n",
    ),
    "a child's line comes while the child runs": Case(
        (
            "code = 'import time; print(\"up\"); time.sleep(600)'\n"
            "child = subprocess.Popen([sys.executable, '-c', code], stdout=subprocess.PIPE)\n"
            "print(child.stdout.readline()); child.kill(); child.wait(); None",
        ),
        "b'up\\n'\n",
    ),
    "a pool of the cell before": Case(
        (
            "import multiprocessing\npool = multiprocessing.get_context('fork').Pool(1)",
            "pool.map(print, 'ab'); pool.terminate()",
        ),
        "a\nb\n",
    ),
    "a fork without an end": Case(
        ("if os.fork() == 0: print('child')\nelse: os.wait(); print('parent')",), "child\nparent\n"
    ),
    "a fork that fails": Case(
        (
            "if os.fork() == 0: sys.stderr = open(os.devnull, 'w'); 1 / 0\nelse: print(os.wait()[1])",
        ),
        "256\n",
    ),
    "joblib's processes": Case(
        (
            "from joblib import Parallel, delayed\n"
            "Parallel(n_jobs=2)(delayed(print)(word) for word in ['same', 'same']); None",
        ),
        "same\nsame\n",
        needs_image=True,
    ),
    "100 MB of shared memory": Case(
        (
            "from multiprocessing.shared_memory import SharedMemory\n"
            "memory = SharedMemory(create=True, size=100_000_000)\n"
            "memory.buf[:] = bytes(100_000_000); print(len(memory.buf) >= 100_000_000)\n"
            "memory.close(); memory.unlink()",
        ),
        "True\n",
    ),
}


def shown(lines: list[ExecutionLine]) -> str:
    """Text as it is, pictures and errors by name."""
    pieces = []
    for line in lines:
        if not isinstance(line, KernelMessage):
            continue
        if line.msg_type == "stream":
            pieces.append(str(line.content["text"]))
        elif line.msg_type == "error":
            pieces.append(f"!{line.content['ename']}")
        elif line.msg_type == "display_data":
            pieces.append("<image/png>" if "image/png" in line.content["data"] else "<text>")
    return "".join(pieces)


@pytest.mark.parametrize("case", TABLE.values(), ids=TABLE)
async def test_a_cell_shows(house: House, live: Sandbox, case: Case) -> None:
    """One sandbox for the whole table: what one does must not hurt the next."""
    if case.needs_image and not house.is_isolated:
        pytest.skip("the package is in the image alone")
    await execute(live, PRELUDE)
    for code in case.cells:
        lines = await execute(live, code)
        assert end_of(lines).reason == "finished"
    assert shown(lines) == case.shown


async def test_what_is_written_to_the_descriptors_is_in_the_cell_that_wrote_it(
    live: Sandbox,
) -> None:
    """However often: the end of a cell is told when its pipes have been read."""
    await execute(live, "import os, subprocess")
    for _ in range(25):
        assert stdout(await execute(live, "os.write(1, b'raw\\n'); None")) == "raw\n"
        assert stdout(await execute(live, "subprocess.run(['echo', 'x']); None")) == "x\n"


async def test_a_background_process_that_never_stops_writing_does_not_hold_a_cell(
    live: Sandbox,
) -> None:
    """Only what was in the pipe at the cell's end is waited for."""
    await execute(live, "import subprocess; yes = subprocess.Popen(['yes']); None")
    lines = await execute(live, "x = 1")
    await execute(live, "yes.kill(); yes.wait(); None")
    assert end_of(lines).reason == "finished"
    assert stdout(await execute(live, "print('quiet')")).endswith("quiet\n")
