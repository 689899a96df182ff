"""The line to an agent that may have been taken over: bounded, checked, kept while it is good."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from sandbox_service.backends.agent_http import AgentHttp, within
from sandbox_service.backends.agent_kernel import LineSplitter, stream_cap
from sandbox_service.backends.agent_line import AgentLine
from sandbox_service.backends.agent_patience import AgentWaits
from sandbox_service.domain.errors import (
    AgentViolation,
    InvalidRequest,
    NotFound,
    SandboxLost,
    ServiceError,
    TooLarge,
    WorkspaceFull,
)
from sandbox_service.domain.ports import ExecuteRequest, ExecutionLine
from tests.contract.fake_agents import (
    Answers,
    ClosesMidStream,
    DiesAfterConnect,
    DripsItsBody,
    DripsItsHead,
    FakeAgent,
    Floods,
    LiesAboutSize,
    NeverAnswers,
    NeverIdle,
    Refuses,
    SpeaksGarbage,
    StallsMidStream,
    Streams,
    end_line,
    stdout_line,
)

MakeAgent = Callable[[Path], FakeAgent]
REQUEST = ExecuteRequest("exec_1", "print(1)", output_bytes=1000)


@asynccontextmanager
async def line_to(agent: FakeAgent, waits: AgentWaits | None = None) -> AsyncIterator[AgentLine]:
    async with agent:
        line = AgentLine.over_unix(agent.path, waits)
        try:
            yield line
        finally:
            await line.close()


async def run(line: AgentLine) -> list[ExecutionLine]:
    return [item async for item in line.kernel.execute(REQUEST)]


async def list_files(line: AgentLine) -> Any:
    return await line.files.list()


async def check_health(line: AgentLine) -> Any:
    return await line.kernel.health()


async def read_file(line: AgentLine) -> bytes:
    async with line.files.read("a.csv") as stream:
        return b"".join([chunk async for chunk in stream.chunks])


async def read_archive(line: AgentLine) -> bytes:
    async with line.files.archive() as chunks:
        return b"".join([chunk async for chunk in chunks])


async def write_file(line: AgentLine) -> Any:
    return await line.files.write("a.csv", chunks_of(b"1,2"))


async def chunks_of(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


async def restart(line: AgentLine) -> Any:
    return await line.kernel.restart(1)


CALLS = [run, list_files, check_health, read_file, read_archive, write_file]


@pytest.mark.parametrize("call", CALLS)
async def test_an_agent_that_hangs_up_is_a_lost_sandbox(call, short_dir) -> None:
    """Whatever is asked, a broken line is SandboxLost."""
    async with line_to(DiesAfterConnect(short_dir)) as line:
        with pytest.raises(SandboxLost):
            await call(line)


@pytest.mark.parametrize("call", CALLS)
async def test_an_agent_that_is_not_there_is_a_lost_sandbox(call, short_dir) -> None:
    """A socket that does not exist is SandboxLost too."""
    line = AgentLine.over_unix(str(short_dir / "agent.sock"))
    with pytest.raises(SandboxLost):
        await call(line)
    await line.close()


@pytest.mark.parametrize("call", CALLS)
async def test_an_agent_that_does_not_speak_http_is_in_violation(call, short_dir) -> None:
    """Bytes that are no HTTP are the agent's fault, not the line's."""
    async with line_to(SpeaksGarbage(short_dir)) as line:
        with pytest.raises(AgentViolation):
            await call(line)


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, InvalidRequest),
        (404, NotFound),
        (409, InvalidRequest),
        (503, SandboxLost),
        (507, WorkspaceFull),
        (500, AgentViolation),
    ],
)
@pytest.mark.parametrize("call", CALLS)
async def test_statuses_are_errors_of_ours(call, status, error, short_dir) -> None:
    """Every status has its error, and the agent's own words are not repeated."""
    async with line_to(Refuses(short_dir, status)) as line:
        with pytest.raises(ServiceError) as caught:
            await call(line)
    assert type(caught.value) is error
    assert "from inside" not in caught.value.message


@pytest.mark.parametrize("call", [run, list_files, check_health, read_file])
async def test_a_redirect_is_not_followed(call, short_dir) -> None:
    """The agent cannot send the service anywhere else."""
    agent = Answers(short_dir, b"", status=302)
    async with line_to(agent) as line:
        with pytest.raises(AgentViolation):
            await call(line)
    assert len(agent.requests) == 1


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b'{"kernel": {"state": "confused", "incarnation": 1}}',
        b'{"kernel": {"state": "idle", "incarnation": -1}}',
        b'{"kernel": {"state": "idle", "incarnation": 1}, "executions": [%s{}]}'
        % (b"{}," * 90_000),
    ],
)
async def test_a_malformed_health_is_a_violation(body, short_dir) -> None:
    """Answers are checked against their schema."""
    async with line_to(Answers(short_dir, body)) as line:
        with pytest.raises(AgentViolation):
            await line.kernel.health()


@pytest.mark.parametrize("name", ["/etc/passwd", "../up", "a//b", "", "%2E%2E/up", "a%2fb", "%"])
async def test_a_listing_with_an_illegal_name_is_a_violation(name, short_dir) -> None:
    """No name that the agent gives can climb."""
    entry = {"name": name, "type": "file", "size": 1, "mtime_ns": 0}
    body = json.dumps({"entries": [entry], "truncated": False}).encode()
    async with line_to(Answers(short_dir, body)) as line:
        with pytest.raises(AgentViolation):
            await line.files.list()


async def test_a_listing_keeps_names_that_are_no_text_and_times_that_are_no_dates(
    short_dir,
) -> None:
    """Odd names and odd times are data, not errors."""
    entry = {"name": "caf%E9", "type": "file", "size": 1, "mtime_ns": 10**30}
    body = json.dumps({"entries": [entry], "truncated": False}).encode()
    async with line_to(Answers(short_dir, body)) as line:
        [found] = await line.files.list()
    assert found.path == "caf\udce9"
    assert found.modified_at.year == 9999


async def test_an_endless_answer_is_a_violation(short_dir) -> None:
    """A JSON answer is read up to its bound and no further."""
    async with line_to(Floods(short_dir, b"[" * 65536)) as line:
        with pytest.raises(AgentViolation):
            await line.kernel.health()


@pytest.mark.parametrize("piece", [b"x" * 65536, stdout_line(1, "x"), b"\n" * 4096])
async def test_a_flood_of_an_execution_is_a_violation(piece, short_dir) -> None:
    """One endless line, the same line again, or nothing but line ends."""
    async with line_to(Floods(short_dir, piece)) as line:
        with pytest.raises(AgentViolation):
            await run(line)


async def test_a_flood_of_good_lines_ends_at_the_budget(short_dir) -> None:
    """Well-formed lines without end are cut at the stream's bound."""
    lines = [stdout_line(seq, "x" * 8000) for seq in range(1, 1200)]
    assert sum(map(len, lines)) > stream_cap(REQUEST.output_bytes)
    async with line_to(Streams(short_dir, *lines)) as line:
        with pytest.raises(AgentViolation):
            await run(line)


@pytest.mark.parametrize("pieces", [(), (stdout_line(1, "a"),), (stdout_line(1, "a"), b'{"seq"')])
async def test_a_stream_that_stops_before_its_end_is_a_lost_sandbox(pieces, short_dir) -> None:
    """Whether the body ends properly or not: without the end line it is not over."""
    for agent in (Streams(short_dir, *pieces), ClosesMidStream(short_dir, *pieces)):
        async with line_to(agent) as line:
            with pytest.raises(SandboxLost):
                await run(line)


@pytest.mark.parametrize(
    "pieces",
    [
        (stdout_line(1, "a"), stdout_line(1, "a"), end_line(2)),
        (stdout_line(2, "a"), end_line(1)),
        (b"no json\n", end_line(2)),
    ],
)
async def test_lines_out_of_order_are_a_violation(pieces, short_dir) -> None:
    """Numbers rise, and every line is JSON."""
    async with line_to(Streams(short_dir, *pieces)) as line:
        with pytest.raises(AgentViolation):
            await run(line)


async def test_lines_are_cut_right_wherever_the_chunks_are(short_dir) -> None:
    """A stream cut into single bytes gives the same lines."""
    stream = stdout_line(1, "é") + b'{"kind": "ping"}\n' + end_line(2)
    pieces = [stream[i : i + 1] for i in range(len(stream))]
    async with line_to(Streams(short_dir, *pieces)) as line:
        assert [item.seq for item in await run(line)] == [1, 2]


async def test_what_follows_the_end_is_not_read(short_dir) -> None:
    """After the end line the execution is over, whatever the agent still says."""
    agent = Streams(short_dir, end_line(1), stdout_line(2, "late"), stdout_line(3, "late"))
    async with line_to(agent) as line:
        for _ in range(2):
            assert [item.seq for item in await run(line)] == [1]


async def test_a_stream_read_to_its_end_keeps_its_connection(short_dir) -> None:
    """Five executions, one connection."""
    agent = Streams(short_dir, stdout_line(1, "a") + end_line(2))
    async with line_to(agent) as line:
        for _ in range(5):
            assert len(await run(line)) == 2
    assert agent.connections == 1


async def test_a_reader_that_leaves_closes_its_connection(short_dir) -> None:
    """The agent learns that nobody reads any more."""
    agent = Floods(short_dir, b'{"kind": "ping"}\n' + stdout_line(1, "a"))
    async with line_to(agent) as line:
        async with aclosing(line.kernel.execute(REQUEST)) as lines:
            async for _ in lines:
                break
        async with asyncio.timeout(60):
            await agent.hung_up.wait()


async def test_a_file_that_is_shorter_than_claimed_is_a_lost_sandbox(short_dir) -> None:
    """What came is passed on, and then the truth."""
    async with line_to(LiesAboutSize(short_dir)) as line, line.files.read("a.csv") as stream:
        assert stream.size == 100
        assert await anext(stream.chunks) == b"0123456789"
        with pytest.raises(SandboxLost):
            await anext(stream.chunks)


async def test_a_file_of_unknown_size_is_a_violation(short_dir) -> None:
    """A download without a size has no bound."""
    async with line_to(Streams(short_dir, b"abc")) as line:
        with pytest.raises(AgentViolation):
            await read_file(line)


async def test_an_archive_cut_short_is_a_lost_sandbox(short_dir) -> None:
    """A tar stream must come to its end."""
    async with line_to(ClosesMidStream(short_dir, b"abc")) as line:
        with pytest.raises(SandboxLost):
            await read_archive(line)


async def test_an_upload_that_fails_at_its_source_raises_that_failure(short_dir) -> None:
    """A caller's own limit comes back as it was raised, not as a lost sandbox."""

    async def too_much() -> AsyncIterator[bytes]:
        yield b"1"
        raise TooLarge("The file is over the limit.")

    async with line_to(NeverAnswers(short_dir)) as line:
        with pytest.raises(TooLarge):
            await line.files.write("a.csv", too_much())


async def test_an_upload_stored_under_another_name_is_a_violation(short_dir) -> None:
    """The agent must say what it was told."""
    body = json.dumps({"name": "b.csv", "type": "file", "size": 3, "mtime_ns": 0}).encode()
    async with line_to(Answers(short_dir, body)) as line:
        with pytest.raises(AgentViolation):
            await write_file(line)


async def test_an_agent_that_keeps_still_is_a_lost_sandbox(short_dir) -> None:
    """Every call has a deadline."""
    async with NeverAnswers(short_dir) as agent:
        http = AgentHttp.over_unix(agent.path)
        with pytest.raises(SandboxLost):
            await http.read("GET", "/v1/health", timeout=within(0.05))
        await http.close()


@pytest.mark.parametrize(
    ("agent", "call"),
    [
        *((DripsItsHead, call) for call in (run, read_file, read_archive, write_file)),
        *((DripsItsBody, call) for call in (read_file, read_archive, write_file)),
    ],
)
async def test_an_agent_that_drips_is_a_lost_sandbox(agent, call, short_dir) -> None:
    """However often something comes, it must come to something."""
    waits = AgentWaits(silence_s=0.3, slowest_bytes_per_s=1_000_000)
    async with line_to(agent(short_dir), waits) as line, asyncio.timeout(30):
        with pytest.raises(SandboxLost):
            await call(line)


HUGE = "9" * 400


@pytest.mark.parametrize(
    ("call", "answer"),
    [
        (check_health, '{"kernel": {"state": "idle", "incarnation": %s}}'),
        (restart, '{"incarnation": %s}'),
        (list_files, '{"entries": [{"name": "a", "type": "file", "size": %s, "mtime_ns": 1}]}'),
        (list_files, '{"entries": [{"name": "a", "type": "file", "size": 1, "mtime_ns": %s}]}'),
        (list_files, '{"entries": [{"name": "a", "type": "file", "size": 1, "mtime_ns": -%s}]}'),
        (write_file, '{"name": "a.csv", "type": "file", "size": %s, "mtime_ns": 1}'),
        (run, '{"seq": %s, "kind": "end", "reason": "finished", "incarnation": 1}\n'),
        (run, '{"seq": 1, "kind": "end", "reason": "finished", "incarnation": %s}\n'),
    ],
)
async def test_a_number_beyond_all_bounds_is_a_violation(call, answer, short_dir) -> None:
    """It is the agent's failure, and goes no further."""
    for digits in (HUGE, "9" * 5000, "1e999"):
        async with line_to(Answers(short_dir, (answer % digits).encode())) as line:
            with pytest.raises(AgentViolation):
                await call(line)


@pytest.mark.parametrize("agent", [StallsMidStream, NeverAnswers], ids=["in mid-body", "before it"])
async def test_a_line_that_is_closed_breaks_what_flows_over_it(agent, short_dir) -> None:
    """Whoever reads is told, and does not wait for what cannot come any more."""
    pieces = [stdout_line(1, "seen")] if agent is StallsMidStream else []
    async with line_to(agent(short_dir, *pieces)) as line:
        readers = [asyncio.create_task(run(line)), asyncio.create_task(read_archive(line))]
        await asyncio.sleep(0.05)
        await line.close()
        outcomes = await asyncio.wait_for(asyncio.gather(*readers, return_exceptions=True), 60)
        assert [type(outcome) for outcome in outcomes] == [SandboxLost, SandboxLost]


@pytest.mark.parametrize("call", CALLS)
async def test_a_line_that_was_closed_is_a_lost_sandbox(call, short_dir) -> None:
    """For who comes back for the rest, and for who comes late."""
    async with line_to(Answers(short_dir, b"{}")) as line:
        await line.close()
        with pytest.raises(SandboxLost):
            await call(line)


async def test_names_travel_encoded(short_dir) -> None:
    """Spaces, Unicode and bytes that are no text reach the agent as they are in the protocol."""
    agent = NeverIdle(short_dir)
    async with line_to(agent) as line:
        await line.files.delete("a b/é\udcff#?%.csv")
    assert agent.requests == ["delete /v1/files/a%20b/%c3%a9%ff%23%3f%25.csv http/1.1"]


async def test_code_that_is_no_text_is_the_callers_mistake(short_dir) -> None:
    """A lone surrogate cannot be sent."""
    async with line_to(NeverIdle(short_dir)) as line:
        with pytest.raises(InvalidRequest):
            async for _ in line.kernel.execute(ExecuteRequest("exec_1", "'\ud800'", 1000)):
                pass


@pytest.mark.parametrize("chunk_bytes", [1, 3, 7, 100])
def test_a_splitter_cuts_at_line_ends_only(chunk_bytes) -> None:
    """The lines are those of the whole text, however it is cut."""
    text = b"one\n\ntwo three\n" + b"x" * 50 + b"\nrest"
    splitter = LineSplitter(1000)
    lines = []
    for start in range(0, len(text), chunk_bytes):
        lines += splitter.feed(text[start : start + chunk_bytes])
    assert lines == [b"one", b"", b"two three", b"x" * 50]
