"""The client against a real service process: state, charts, files, and streams whose connection is cut."""

import asyncio
import io
import itertools
import os
import signal
import subprocess
import sys
import tarfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from sandbox_service.client import (
    ExecutionCompleted,
    IdempotencyKeyReused,
    LiveOutputs,
    OutputChanged,
    SandboxClient,
    Session,
    SessionGone,
    SyncSandboxClient,
)
from tests.support.service import ServiceProcess
from tests.support.tcp_proxy import TcpProxy

ROOT = Path(__file__).parents[2]
LINES = 120
PRINT_LINES = f"""
import time
for number in range({LINES}):
    print("line", number, flush=True)
    time.sleep(0.02)
"""
ENDLESS = "import time\nkept = 1\nprint('on', flush=True)\nwhile True: time.sleep(0.01)"
CHART_AND_TABLE = """
import matplotlib.pyplot as plt
import pandas as pd
frame = pd.DataFrame({"x": [1, 2], "y": [3, 4]})
frame.to_csv("table.csv", index=False)
frame.plot()
plt.show()
frame
"""


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    """A service without isolation: quick, and the same API."""
    with ServiceProcess(tmp_path_factory.mktemp("local"), backend="unsafe_local") as process:
        yield process


@pytest.fixture
async def client(local: ServiceProcess) -> AsyncIterator[SandboxClient]:
    async with SandboxClient(local.url, local.key) as client:
        yield client


@pytest.fixture(scope="module")
async def session(local: ServiceProcess) -> AsyncIterator[Session]:
    """One for all: starting a kernel takes the longest of what is done here."""
    async with SandboxClient(local.url, local.key) as client, client.open_session() as session:
        yield session


@pytest.fixture
async def proxy(local: ServiceProcess) -> AsyncIterator[TcpProxy]:
    async with TcpProxy(local.port) as proxy:
        yield proxy


async def test_state_stays_and_a_session_is_found_again(
    client: SandboxClient, session: Session
) -> None:
    """By its id, from another client object."""
    await session.execute("x = 41")
    again = client.session(session.id)
    result = await again.execute("x + 1")
    assert (result.text, result.state) == ("42\n", "kept")
    assert [item.id for item in await again.executions()][-1] == result.id
    assert session.id in [info.id for info in await client.sessions(limit=100)]


async def test_a_chart_and_a_table_show_themselves_and_are_saved(
    session: Session, tmp_path: Path
) -> None:
    """The figure as a PNG, the frame as a table, the CSV as a link and as a file."""
    result = await session.execute(CHART_AND_TABLE)
    shown, png = result._repr_html_(), result._repr_png_()
    assert png is not None
    assert png.startswith(b"\x89PNG")
    assert "data:image/png;base64," in shown
    assert "<th>x</th>" in shown
    assert ">table.csv</a>" in shown
    saved = await result.save(tmp_path)
    assert [path.name for path in saved] == ["table.csv", "image-1.png"]
    assert saved[0].read_text() == "x,y\n1,3\n2,4\n"
    assert saved[1].read_bytes() == png


async def test_files_go_up_and_down(session: Session, tmp_path: Path) -> None:
    """From a path, bytes, an open file and chunks of unknown number; back one by one, or all."""

    async def chunks() -> AsyncIterator[bytes]:
        for number in range(3):
            yield f"{number}\n".encode()

    (tmp_path / "a.csv").write_bytes(b"a")
    await session.upload(tmp_path / "a.csv")
    await session.upload(b"", "sub/empty.txt")
    await session.upload(io.BytesIO(b"x" * 3_000_000), "large.bin")
    await session.upload(chunks(), "naïve 100%.txt")
    read = await session.execute("open('naïve 100%.txt').read()")
    assert read.text == "'0\\n1\\n2\\n'\n"
    sent = {"a.csv": 1, "sub/empty.txt": 0, "large.bin": 3_000_000, "naïve 100%.txt": 6}
    assert {entry.path: entry.size for entry in await session.files()}.items() >= sent.items()
    assert [entry.path for entry in await session.files("sub")] == ["sub/empty.txt"]
    assert await session.download("large.bin") == b"x" * 3_000_000
    with tarfile.open(await session.archive_to(tmp_path / "all.tar")) as archive:
        assert "large.bin" in [name.removeprefix("./") for name in archive.getnames()]
    await session.delete("large.bin")
    assert "large.bin" not in [entry.path for entry in await session.files()]


async def test_the_kernel_is_steered(session: Session) -> None:
    """An interrupt keeps variables, a restart does not, an extension lasts."""
    await session.execute("x = 1")
    running = asyncio.create_task(session.execute("import time\nwhile True: time.sleep(0.01)"))
    while (await session.info()).raw["kernel"]["state"] != "busy":
        await asyncio.sleep(0.02)
    await session.interrupt()
    assert (await running).status == "interrupted"
    assert (await session.execute("x")).text == "1\n"
    await session.restart()
    lost = await session.execute("x")
    assert lost.error is not None
    assert (lost.error.name, lost.state) == ("NameError", "reset")
    assert (await session.extend(1234)).raw["idle_ttl_s"] == 1234


async def test_the_notebook_is_saved(session: Session, tmp_path: Path) -> None:
    """One that Jupyter reads."""
    import nbformat

    await session.execute("print('hello')")
    notebook = nbformat.read(await session.save_notebook(tmp_path / "a.ipynb"), as_version=4)
    assert notebook.cells[-1].outputs[0].text == "hello\n"


async def test_a_single_call_leaves_no_session(client: SandboxClient) -> None:
    """With files and without."""
    result = await client.run("print(open('a.txt').read())", files={"a.txt": b"hello"})
    assert result.text == "hello\n"
    once = await client.run("print(6 * 7)")
    assert once.text == "42\n"
    with pytest.raises(SessionGone):
        await client.session(once.session_id).execute("1")


async def test_separators_that_are_no_line_ends_arrive_as_they_were_printed(
    session: Session,
) -> None:
    """JSON carries them raw, and some readers of lines stumble over them."""
    text = "a\u2028b\u2029c\x85d"
    assert (await session.execute(f"print({text!r})")).text == f"{text}\n"


async def test_one_key_is_one_execution(session: Session) -> None:
    """Twenty at the same time, and once more: one run; with other code it is refused."""
    code = "n = globals().get('n', 0) + 1\nn"
    calls = [session.execute(code, idempotency_key="only-once") for _ in range(20)]
    results = await asyncio.gather(*calls)
    results.append(await session.execute(code, idempotency_key="only-once"))
    assert {result.text for result in results} == {"1\n"}
    assert len({result.id for result in results}) == 1
    with pytest.raises(IdempotencyKeyReused):
        await session.execute("2", idempotency_key="only-once")


async def test_one_key_is_one_session(client: SandboxClient) -> None:
    """Also when the first answer is long gone."""
    first = await client.new_session(idempotency_key="my-session")
    second = await client.new_session(idempotency_key="my-session")
    assert first.id == second.id
    await first.close()


async def test_every_line_comes_once_though_the_connection_is_cut(
    local: ServiceProcess, session: Session, proxy: TcpProxy
) -> None:
    """Three times in the middle of a stream: the code runs on, and nothing is missing or double."""
    live, seen = LiveOutputs(), []
    async with SandboxClient(proxy.url, local.key) as through_proxy:
        async for event in through_proxy.session(session.id).stream(PRINT_LINES):
            seen.append(event.id)
            live.add(event)
            if isinstance(event, OutputChanged):
                text = live.outputs[0]["text"]
            if len(seen) in (10, 30, 60):
                proxy.cut()
    expected = "".join(f"line {number}\n" for number in range(LINES))
    assert text == expected
    assert isinstance(event, ExecutionCompleted)
    assert event.result.text == expected
    assert seen == sorted(set(seen))
    assert proxy.connections == 4


async def test_a_result_is_had_though_the_connection_is_cut_all_the_time(
    local: ServiceProcess, session: Session, proxy: TcpProxy
) -> None:
    """Whatever moment it hits: before the answer, in it, after it. The code runs once."""

    async def cut_often() -> None:
        # Ever more rarely: however slow the machine is, something comes through at last.
        for number in itertools.count():
            await asyncio.sleep(0.1 + number * 0.01)
            proxy.cut()

    code = f"runs = globals().get('runs', 0) + 1\n{PRINT_LINES}\nruns"
    cutting = asyncio.create_task(cut_often())
    async with SandboxClient(proxy.url, local.key) as through_proxy:
        result = await through_proxy.session(session.id).execute(code)
    cutting.cancel()
    assert result.text.startswith("line 0\nline 1\n")
    assert result.text.endswith(f"line {LINES - 1}\n1\n")
    assert proxy.connections > 5


async def test_a_stream_that_the_caller_leaves_lets_the_code_run_on(session: Session) -> None:
    """Its events are had later, from any number on."""
    events = session.stream("import time; time.sleep(0.5); print('late')")
    started = await anext(events)
    await events.aclose()
    rest = [event async for event in session.events(started.execution_id, after=1)]
    assert isinstance(rest[-1], ExecutionCompleted)
    assert rest[-1].result.text == "late\n"


async def test_a_caller_that_is_cancelled_takes_the_code_along(session: Session) -> None:
    """If it asked for that; variables are kept."""

    async def follow() -> None:
        async for event in session.stream(ENDLESS, interrupt_on_leave=True):
            if isinstance(event, OutputChanged):
                begun.set()

    begun = asyncio.Event()
    following = asyncio.create_task(follow())
    await begun.wait()
    following.cancel()
    await asyncio.wait([following])
    assert (await session.execute("kept")).text == "1\n"
    assert (await session.executions())[-2].status == "interrupted"


async def test_without_an_event_loop_it_is_all_the_same(
    local: ServiceProcess, proxy: TcpProxy, tmp_path: Path
) -> None:
    """State, a chart, files, a cut stream; in a program that knows no async."""

    def program() -> str:
        with SyncSandboxClient(proxy.url, local.key) as client, client.open_session() as session:
            session.upload(b"a,b\n1,2\n", "in.csv")
            session.execute("import pandas as pd; frame = pd.read_csv('in.csv')")
            result = session.execute("frame.plot(); frame.to_csv('out.csv')")
            assert len(result.save(tmp_path)) == 2
            text = ""
            for number, event in enumerate(session.stream(PRINT_LINES)):
                if number == 20:
                    proxy_loop.call_soon_threadsafe(proxy.cut)
                if isinstance(event, ExecutionCompleted):
                    text = event.result.text
            return text

    proxy_loop = asyncio.get_running_loop()
    text = await asyncio.to_thread(program)
    assert text.count("line") == LINES
    assert sorted(os.listdir(tmp_path)) == ["image-1.png", "out.csv"]


def test_type_checkers_see_the_real_signatures(tmp_path: Path) -> None:
    """What a strict reader of the module says of a program that uses it."""
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    command = [sys.executable, "-m", "mypy", str(program)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=110)
    revealed = [line.partition("Revealed type is ")[2] for line in done.stdout.splitlines()]
    assert [text for text in revealed if text] == [
        '"sandbox_service.client.sync.SyncExecutionResult"',
        '"bytes"',
        '"list[pathlib.Path]"',
        '"sandbox_service.client.sync.SyncArtifact"',
        '"int"',
    ], done.stdout + done.stderr
    assert 'Unexpected keyword argument "colour"' in done.stdout


PROGRAM = """
from sandbox_service.client import ArtifactMade, OutputChanged, SyncSandboxClient

with SyncSandboxClient() as client, client.open_session(idle_ttl_s=60) as session:
    result = session.execute("1")
    reveal_type(result)
    reveal_type(result.artifacts[0].read())
    reveal_type(result.save("x"))
    for event in session.stream("1"):
        if isinstance(event, ArtifactMade):
            reveal_type(event.artifact)
        elif isinstance(event, OutputChanged):
            reveal_type(event.index)
    client.new_session(colour="red")
"""


INTERRUPTED = """
import asyncio, threading
from sandbox_service.client.bridge import Bridge

async def waits():
    print("waiting", flush=True)
    try:
        await asyncio.Event().wait()
    finally:
        print("cancelled", flush=True)

bridge = Bridge()
async def nothing(): pass
try:
    bridge.call(waits())
except KeyboardInterrupt:
    print("interrupted", flush=True)
bridge.close(nothing())
print([t.name for t in threading.enumerate()], flush=True)
"""


def test_ctrl_c_ends_a_call_and_what_it_waited_for() -> None:
    """The work is cancelled before the caller goes on."""
    command = [sys.executable, "-c", INTERRUPTED]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "waiting\n"
        process.send_signal(signal.SIGINT)
        said = process.stdout.read()
    assert said == "cancelled\ninterrupted\n['MainThread']\n"
    assert process.returncode == 0


def test_a_program_that_closes_nothing_still_ends() -> None:
    """The thread does not keep the interpreter alive."""
    code = "from sandbox_service.client import SyncSandboxClient as C; C('http://x')._bridge.call("
    code += "__import__('asyncio').sleep(0))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, b"")
