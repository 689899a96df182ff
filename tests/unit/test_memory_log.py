"""What the memory stores hold outlives their process, whatever happened to the file or the disk."""

import resource
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import orjson
import pytest

from sandbox_service.domain.errors import StoreUnavailable
from sandbox_service.domain.stores import Mark, SessionQuery, Stores
from sandbox_service.domain.values import (
    ExecutionEvent,
    ExecutionRecord,
    ExecutionStatus,
    SandboxRef,
    SessionStatus,
)
from sandbox_service.store.bounds import StoreBounds
from sandbox_service.store.memory import log as log_module
from sandbox_service.store.memory import open_memory_stores
from sandbox_service.store.memory.log import StoreInUse
from tests.support.fakes import SteppedClock, execution_record, session_record

CLOCK = SteppedClock()
ALL = SessionQuery(limit=100)
Opening = Callable[..., AbstractContextManager[Stores]]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "default.log"


@pytest.fixture
def opened(path: Path) -> Opening:
    """Opens the stores, with these bounds, as one process after the other would."""
    return lambda **bounds: open_memory_stores(StoreBounds(**bounds), path, CLOCK)


async def accept(stores: Stores, execution_id: str = "exec_a") -> ExecutionRecord:
    session = await stores.sessions.get("sess_a")
    assert session is not None
    execution = execution_record(CLOCK, execution_id)
    await stores.executions.accept(session, execution, queue_length=9)
    return execution


async def write(stores: Stores, execution: ExecutionRecord, status: ExecutionStatus) -> None:
    lease = await stores.work.seize("sess_a")
    record = execution.model_copy(update={"status": status})
    page = await stores.journals.read("sess_a", execution.id, 0, 99)
    kind = "execution.completed" if status.is_final else "execution.started"
    event = ExecutionEvent(page.last_id + 1, kind, record)
    await stores.journals.write(lease, record, [event])


async def test_sessions_are_there_again_and_ended_or_dropped_ones_stay_so(opened: Opening) -> None:
    with opened() as stores:
        kept = await stores.sessions.create(
            session_record(CLOCK, sandbox=SandboxRef(sandbox_id="b"))
        )
        closed = await stores.sessions.create(session_record(CLOCK, "sess_b"))
        closed = closed.model_copy(update={"status": SessionStatus.CLOSED})
        closed = await stores.sessions.replace(closed)
        await stores.sessions.create(session_record(CLOCK, "sess_c"))
        await stores.sessions.delete("sess_c")
    for _ in range(2):
        with opened() as stores:
            found = [await stores.sessions.get(f"sess_{name}") for name in "abc"]
            assert found == [kept, closed, None]


async def test_a_finished_execution_is_there_with_its_result(opened: Opening) -> None:
    with opened() as stores:
        await stores.sessions.create(session_record(CLOCK))
        execution = await accept(stores)
        await write(stores, execution, ExecutionStatus.RUNNING)
        await write(stores, execution, ExecutionStatus.OK)
        events = (await stores.journals.read("sess_a", "exec_a", 0, 99)).events
    with opened() as stores:
        page = await stores.journals.read("sess_a", "exec_a", 0, 99)
        assert [event.type for event in page.events] == ["gap", "execution.completed"]
        assert (page.is_final, page.events[-1]) == (True, events[-1])
        assert await stores.work.waiting("sess_a") == []
        assert await stores.work.take_over() == []


async def test_what_waited_or_ran_is_taken_over_in_its_order(opened: Opening) -> None:
    with opened() as stores:
        await stores.sessions.create(session_record(CLOCK))
        accepted = [await accept(stores, f"exec_{number}") for number in range(3)]
        await write(stores, accepted[0], ExecutionStatus.OK)
        await write(stores, accepted[1], ExecutionStatus.RUNNING)
    with opened() as stores:
        assert await stores.work.waiting("sess_a") == ["exec_1", "exec_2"]
        session = await stores.sessions.get("sess_a")
        assert session is not None
        assert session.pending == 2
        [lease] = await stores.work.take_over()
        head = await stores.work.head(lease)
        assert head is not None
        assert (head.id, head.status) == ("exec_1", ExecutionStatus.RUNNING)
        assert (await stores.journals.read("sess_a", "exec_1", 0, 99)).events == []


async def test_what_was_asked_of_an_execution_still_counts(opened: Opening) -> None:
    with opened() as stores:
        await stores.sessions.create(session_record(CLOCK))
        await accept(stores)
        await stores.executions.mark("sess_a", "exec_a", Mark.CANCELLED)
    for _ in range(2):
        with opened() as stores:
            assert await stores.executions.marks("sess_a", "exec_a") == {Mark.CANCELLED}


async def test_keys_and_warm_sandboxes_are_there_again(opened: Opening) -> None:
    warm = [SandboxRef(sandbox_id=f"box_{number}") for number in range(3)]
    with opened() as stores:
        for ref in warm:
            await stores.pool.add("python", ref)
        assert await stores.pool.take("python") == warm[0]
        for key in ("begun", "done", "given back"):
            entry = await stores.once.begin("a", key, "print", {"sess": f"sess_{key}"})
        await stores.once.done("a", "done")
        await stores.once.give_back("a", "given back", entry)
    with opened() as stores:
        assert await stores.pool.ready("python") == warm[1:]
        again = [
            await stores.once.begin("a", key, "x", {}) for key in ("begun", "done", "given back")
        ]
        assert [(entry.ids.get("sess"), entry.is_done) for entry in again] == [
            ("sess_begun", False),
            ("sess_done", True),
            (None, False),
        ]


TORN = [b"", b"\0" * 100, b'["session","sess_z",{"id"', b"[1,2", b"null\n", b"7\n", b"[1,2]\n"]
STRANGE = [b'["colour","red",1]\n', b'["session","sess_z",{"id":1}]\n', b'["once","k",{"a":1}]\n']


@pytest.mark.parametrize("end", [*TORN, *STRANGE], ids=repr)
async def test_a_line_that_cannot_be_read_costs_nothing_but_itself(
    opened: Opening, path: Path, end: bytes
) -> None:
    """Its writer was killed in the middle of it, or was of another version."""
    with opened() as stores:
        kept = await stores.sessions.create(session_record(CLOCK))
    with path.open("ab") as file:
        file.write(end)
    with opened() as stores:
        assert await stores.sessions.get("sess_a") == kept
        later = await stores.sessions.create(session_record(CLOCK, "sess_b"))
    with opened() as stores:
        assert [await stores.sessions.get(f"sess_{x}") for x in "ab"] == [kept, later]


async def test_every_prefix_of_the_log_is_a_log(opened: Opening, path: Path) -> None:
    """Wherever a kill cuts it: what was whole before the cut is there."""
    with opened() as stores:
        for name in "abc":
            await stores.sessions.create(session_record(CLOCK, f"sess_{name}"))
    whole = content(path)
    for length in range(0, len(whole), 97):
        put(path, whole[:length])
        with opened() as stores:
            found = [await stores.sessions.get(f"sess_{name}") for name in "abc"]
        assert found.index(None) >= whole[:length].count(b"\n")


def test_a_second_process_is_refused_until_the_first_is_gone(opened: Opening) -> None:
    with opened():
        with pytest.raises(StoreInUse, match="SANDBOX_INSTANCE") as refusal, opened():
            pass
        assert isinstance(refusal.value, StoreUnavailable)
    with opened():
        pass


async def test_a_second_process_is_refused_also_after_the_log_was_written_anew(
    opened: Opening,
) -> None:
    with opened(smallest_log_bytes=100) as stores:
        for name in "abc":
            await stores.sessions.create(session_record(CLOCK, f"sess_{name}"))
        with pytest.raises(StoreInUse), opened():
            pass


def test_the_log_is_for_nobody_elses_eyes(opened: Opening, path: Path) -> None:
    with opened():
        pass
    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)


async def test_the_log_grows_to_a_few_times_what_it_holds_and_no_further(
    opened: Opening, path: Path
) -> None:
    with opened(smallest_log_bytes=4096) as stores:
        record = await stores.sessions.create(session_record(CLOCK))
        line = len(content(path))
        for _ in range(500):
            record = await stores.sessions.replace(record)
        assert len(content(path)) < 2 * 4096 + line
        assert [name.name for name in path.parent.iterdir()] == [path.name]
    with opened() as stores:
        assert await stores.sessions.get("sess_a") == record
        assert len(content(path).splitlines()) == 1


def content(path: Path) -> bytes:
    return path.read_bytes()


def put(path: Path, whole: bytes) -> None:
    path.write_bytes(whole)


@contextmanager
def full_disk(path: Path, room: int = 0) -> Iterator[None]:
    """No file can grow beyond the log's present size and `room`, as on a disk that is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + room, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("room", [0, 10, 300])
async def test_a_full_disk_stops_nothing_and_is_caught_up_with_when_there_is_room(
    opened: Opening, path: Path, room: int
) -> None:
    """Also when the last line went in by half, of which nothing is said to the writer."""
    with opened(log_heal_s=0) as stores:
        await stores.sessions.create(session_record(CLOCK, "sess_before"))
        with full_disk(path, room):
            for number in range(5):
                await stores.sessions.create(session_record(CLOCK, f"sess_{number}"))
        assert len(await stores.sessions.list(ALL)) == 6
        await stores.sessions.create(session_record(CLOCK, "sess_after"))
        expected = await stores.sessions.list(ALL)
    with opened() as stores:
        assert await stores.sessions.list(ALL) == expected
        assert len(expected) == 7
    for line in content(path).splitlines():
        orjson.loads(line)


async def test_a_full_disk_is_caught_up_with_by_the_beat_of_a_process_that_writes_nothing_more(
    opened: Opening, path: Path
) -> None:
    with opened(log_heal_s=0) as stores:
        with full_disk(path):
            await stores.sessions.create(session_record(CLOCK, "sess_while_full"))
        await stores.replicas.beat()
        expected = content(path)
    assert b"sess_while_full" in expected


async def test_a_process_that_ends_on_a_full_disk_leaves_what_was_there_before(
    opened: Opening, path: Path
) -> None:
    with opened() as stores:
        await stores.sessions.create(session_record(CLOCK, "sess_before"))
        with full_disk(path, room=10):
            await stores.sessions.create(session_record(CLOCK, "sess_lost"))
    with opened() as stores:
        assert [record.id for record in await stores.sessions.list(ALL)] == ["sess_before"]


async def test_a_full_disk_is_told_once_and_not_tried_with_every_change(
    opened: Opening, path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries: list[int] = []
    rewrite = log_module.Log.rewrite

    def counted(log: log_module.Log) -> None:
        tries.append(1)
        rewrite(log)

    with opened(log_heal_s=3600) as stores:
        record = await stores.sessions.create(session_record(CLOCK))
        monkeypatch.setattr(log_module.Log, "rewrite", counted)
        with full_disk(path):
            for _ in range(100):
                record = await stores.sessions.replace(record)
    assert len([r for r in caplog.records if "store_log_failed" in r.message]) == 1
    assert len(tries) <= 1
    assert [name.name for name in path.parent.iterdir()] == [path.name]


async def test_a_log_that_takes_nothing_from_the_start_stops_nothing(
    opened: Opening, path: Path
) -> None:
    with opened() as stores:
        await stores.sessions.create(session_record(CLOCK, "sess_before"))
    with full_disk(path, room=-len(content(path))), opened() as stores:
        await stores.sessions.create(session_record(CLOCK, "sess_lost"))
        assert len(await stores.sessions.list(ALL)) == 2
    with opened() as stores:
        assert [record.id for record in await stores.sessions.list(ALL)] == ["sess_before"]
