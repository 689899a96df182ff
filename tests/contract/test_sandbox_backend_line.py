"""What the line to a real agent promises, over every backend: kernel, files, archive."""

import asyncio
import hashlib
import io
import tarfile
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest

from sandbox_service.domain.errors import InvalidRequest, NotFound, WorkspaceFull
from sandbox_service.domain.ids import new_id
from sandbox_service.domain.ports import ExecuteRequest, MessageGap, Sandbox
from sandbox_service.domain.values import MIB
from tests.contract.backend_fixtures import House, end_of, execute, stdout

CHUNK_BYTES = 64 * 1024


async def pieces(data: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(data), CHUNK_BYTES):
        yield data[start : start + CHUNK_BYTES]


async def read(sandbox: Sandbox, path: str) -> bytes:
    async with sandbox.files.read(path) as stream:
        data = b"".join([chunk async for chunk in stream.chunks])
    assert len(data) == stream.size
    return data


async def test_state_is_kept_from_cell_to_cell(live: Sandbox) -> None:
    """One kernel, one memory."""
    await execute(live, "x = 41")
    assert stdout(await execute(live, "print(x + 1)")) == "42\n"


async def test_lines_are_numbered_and_end(live: Sandbox) -> None:
    """Numbers rise by one up to the end line."""
    lines = await execute(live, "print('a'); print('b')")
    assert [line.seq for line in lines] == list(range(1, len(lines) + 1))
    assert end_of(lines).reason == "finished"


async def test_the_same_id_is_the_same_execution(live: Sandbox) -> None:
    """Posted twice, the code runs once and the lines are the same."""
    execution_id = new_id("exec")
    await execute(live, "runs = 0")
    first = await execute(live, "runs += 1; print(runs)", execution_id)
    second = await execute(live, "runs += 1; print(runs)", execution_id)
    assert first == second
    assert stdout(await execute(live, "print(runs)")) == "1\n"


async def test_an_execution_is_taken_up_again_after_a_line(live: Sandbox) -> None:
    """A reader that left gets the rest, and nothing twice."""
    execution_id = new_id("exec")
    code = "import time\nfor i in range(5): print(i, flush=True); time.sleep(0.02)"
    request = ExecuteRequest(execution_id, code, MIB)
    async with aclosing(live.kernel.execute(request)) as lines:  # type: ignore[type-var]
        head = [await anext(lines) for _ in range(3)]
    tail = [line async for line in live.kernel.resume(execution_id, head[-1].seq)]
    assert stdout(head + tail) == "0\n1\n2\n3\n4\n"
    assert tail[0].seq == head[-1].seq + 1


async def test_resuming_an_unknown_execution_is_not_found(live: Sandbox) -> None:
    """An id that the agent never saw."""
    with pytest.raises(NotFound):
        async for _ in live.kernel.resume(new_id("exec"), 0):
            pass


async def test_output_past_its_budget_is_a_gap(live: Sandbox) -> None:
    """What is not passed on is counted."""
    lines = await execute(live, "for i in range(40): print('x' * 100_000)")
    gaps = [line for line in lines if isinstance(line, MessageGap)]
    assert gaps
    assert end_of(lines).reason == "finished"
    assert len(stdout(lines)) < 2 * MIB


async def test_an_interrupt_ends_a_loop_and_keeps_the_state(live: Sandbox) -> None:
    """SIGINT is a KeyboardInterrupt in the cell."""
    await execute(live, "kept = 7")
    execution_id, code = new_id("exec"), "print('on', flush=True)\nwhile True: pass"
    running = asyncio.create_task(execute(live, code, execution_id))
    async with asyncio.timeout(60):
        while not running.done():
            await asyncio.sleep(0.2)
            await live.kernel.interrupt(execution_id)
    assert "KeyboardInterrupt" in str(running.result())
    assert (await live.kernel.health(10)).state == "idle"
    assert stdout(await execute(live, "print(kept)")) == "7\n"


async def test_what_is_meant_for_one_that_has_ended_does_not_hit_the_next(live: Sandbox) -> None:
    """An interrupt or a kill that comes late, from a replica that was asleep."""
    ended = new_id("exec")
    await execute(live, "kept = 7", ended)
    incarnation = (await live.kernel.health(10)).incarnation
    running = asyncio.create_task(execute(live, "import time; time.sleep(0.5); print(kept)"))
    await asyncio.sleep(0.2)
    await live.kernel.interrupt(ended)
    assert await live.kernel.restart(incarnation, ended) == incarnation
    assert stdout(await running) == "7\n"


async def test_a_restart_gives_a_fresh_kernel_once(live: Sandbox) -> None:
    """The next incarnation, its memory empty; the same number again kills nothing."""
    await execute(live, "lost = 1")
    before = (await live.kernel.health(10)).incarnation
    after = await live.kernel.restart(before)
    assert after == before + 1
    await execute(live, "kept = 2")
    assert await live.kernel.restart(before) == after
    assert stdout(await execute(live, "print('lost' in globals(), kept)")) == "False 2\n"


async def test_a_kernel_that_dies_is_said_so_and_replaced(live: Sandbox) -> None:
    """The end line carries the signal, and the number of the next kernel."""
    before = (await live.kernel.health(10)).incarnation
    end = end_of(await execute(live, "import os; os.kill(os.getpid(), 9)"))
    assert (end.reason, end.exit_signal, end.incarnation) == ("kernel_died", 9, before + 1)
    assert stdout(await execute(live, "print('again')")) == "again\n"


async def test_files_that_a_cell_makes_are_listed_as_changed(live: Sandbox) -> None:
    """With path and size, once."""
    end = end_of(await execute(live, "open('made.txt', 'w').write('12345')"))
    assert [(file.path, file.size) for file in end.changed] == [("made.txt", 5)]
    assert end_of(await execute(live, "1")).changed == ()


@pytest.mark.parametrize(
    "path",
    [
        "plain.csv",
        "a b/c d.txt",
        "ünï/日本語.txt",
        "raw-\udcff\udcfe.bin",
        "#?%&+.csv",
        "~/x",
        "new\nline",
    ],
)
async def test_a_file_goes_in_and_comes_out_under_any_name(live: Sandbox, path: str) -> None:
    """Bytes and name survive the round trip, and the listing has them."""
    entry = await live.files.write(path, pieces(b"1,2\n\x00\xff"))
    assert (entry.path, entry.size, entry.type) == (path, 6, "file")
    assert await read(live, path) == b"1,2\n\x00\xff"
    assert path in {found.path for found in await live.files.list()}
    await live.files.delete(path)
    with pytest.raises(NotFound):
        await read(live, path)


async def test_an_empty_file_is_a_file(live: Sandbox) -> None:
    """Nought bytes in, nought bytes out."""
    await live.files.write("empty", pieces(b""))
    assert await read(live, "empty") == b""


async def test_a_large_file_survives_the_round_trip(live: Sandbox) -> None:
    """20 MiB, compared by hash, and seen by the kernel."""
    data = bytes(range(256)) * (20 * MIB // 256)
    digest = hashlib.sha256(data).hexdigest()
    await live.files.write("large.bin", pieces(data))
    code = "import hashlib; print(hashlib.sha256(open('large.bin', 'rb').read()).hexdigest())"
    assert stdout(await execute(live, code)).strip() == digest
    assert hashlib.sha256(await read(live, "large.bin")).hexdigest() == digest
    await live.files.delete("large.bin")


async def test_a_reader_that_leaves_a_file_does_no_harm(live: Sandbox) -> None:
    """The next call is answered."""
    await live.files.write("half.bin", pieces(b"x" * 4 * MIB))
    async with live.files.read("half.bin") as stream:
        assert await anext(stream.chunks)
    assert (await live.kernel.health()).state == "idle"
    await live.files.delete("half.bin")


async def test_an_upload_that_breaks_off_leaves_the_old_file(live: Sandbox) -> None:
    """All or nothing."""

    async def broken() -> AsyncIterator[bytes]:
        yield b"new"
        raise InvalidRequest("The caller hung up.")

    await live.files.write("whole.txt", pieces(b"old"))
    with pytest.raises(InvalidRequest):
        await live.files.write("whole.txt", broken())
    assert await read(live, "whole.txt") == b"old"
    assert not [e for e in await live.files.list() if e.path.startswith((".whole", "whole.txt."))]


@pytest.mark.parametrize("path", ["some/dir", "link.txt", "pipe"])
async def test_what_is_no_regular_file_is_not_read(live: Sandbox, path: str) -> None:
    """A directory, a symbolic link, a pipe."""
    code = """import os
os.makedirs('some/dir', exist_ok=True)
if not os.path.lexists('link.txt'): os.symlink('/etc/passwd', 'link.txt')
if not os.path.lexists('pipe'): os.mkfifo('pipe')"""
    await execute(live, code)
    with pytest.raises((InvalidRequest, NotFound)):
        await read(live, path)


async def test_a_directory_goes_with_all_that_is_in_it(live: Sandbox) -> None:
    """And a listing can be of one directory only."""
    await live.files.write("tree/a/1", pieces(b"1"))
    await live.files.write("tree/b/2", pieces(b"2"))
    assert {entry.path for entry in await live.files.list("tree/a")} >= {"tree/a/1"}
    assert "tree/b/2" not in {entry.path for entry in await live.files.list("tree/a")}
    await live.files.delete("tree")
    assert not [entry for entry in await live.files.list() if entry.path.startswith("tree")]


async def test_the_archive_holds_the_workspace(live: Sandbox) -> None:
    """A tar of regular files and directories, links left out."""
    await live.files.write("packed/ünï.txt", pieces(b"content"))
    await execute(live, "import os\nif not os.path.lexists('out'): os.symlink('/etc', 'out')")
    async with live.files.archive() as chunks:
        data = b"".join([chunk async for chunk in chunks])
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        members = {member.name.removeprefix("./"): member for member in tar.getmembers()}
        packed = tar.extractfile(members["packed/ünï.txt"])
        assert packed is not None
        assert packed.read() == b"content"
    assert all(member.isreg() or member.isdir() for member in members.values())


async def test_resources_are_numbers(live: Sandbox) -> None:
    """Memory, CPU time, processes, workspace."""
    resources = await live.resources()
    assert set(resources) == {"memory_bytes", "cpu_s", "pids", "workspace_bytes"}
    assert resources["memory_bytes"] > MIB
    assert resources["pids"] >= 1


async def test_a_full_workspace_is_said_so_and_leaves_nothing(house: House, live: Sandbox) -> None:
    """The sandbox's own quota, not the host's disk, is the bound."""
    if not house.is_isolated:
        pytest.skip("a local backend has no quota")
    await live.files.write("small.txt", pieces(b"old"))
    with pytest.raises(WorkspaceFull):
        await live.files.write("small.txt", pieces(b"x" * 300 * MIB))
    assert await read(live, "small.txt") == b"old"
    assert (await live.resources())["workspace_bytes"] < 64 * MIB
