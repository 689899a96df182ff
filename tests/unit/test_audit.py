"""The audit log: chains in which every change shows, whatever stops or floods their writers."""

import fcntl
import json
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from sandbox_service.tenants import audit as audit_module
from sandbox_service.tenants import audit_files as audit_files_module
from sandbox_service.tenants import audit_writer as audit_writer_module
from sandbox_service.tenants.audit import AuditTrail
from sandbox_service.tenants.audit_chain import Head
from sandbox_service.tenants.audit_files import AuditFiles, audit_files, verify
from sandbox_service.tenants.audit_log import chain_directories, lines_by_time, verify_log
from sandbox_service.tenants.audit_writer import AuditWriter
from tests.support.fakes import SteppedClock


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "audit"


def written(directory: Path, count: int = 5, file_bytes: int = 1 << 20) -> AuditFiles:
    files = AuditFiles(directory, file_bytes)
    for number in range(count):
        files.append([{"event": "test.happened", "number": number}])
    return files


def lines_of(directory: Path) -> list[bytes]:
    return [line for path in audit_files(directory) for line in path.read_bytes().splitlines(True)]


def events_of(directory: Path) -> list[dict]:
    return [json.loads(line) for line in lines_of(directory)]


def put(directory: Path, lines: list[bytes]) -> None:
    (directory / "audit-000001.jsonl").write_bytes(b"".join(lines))


def test_a_log_that_nobody_touched_holds(directory: Path) -> None:
    head = written(directory).append([{"event": "last"}])
    verdict = verify(directory)
    assert (verdict.fault, verdict.lines, verdict.head) == (None, 6, head)
    assert [event["seq"] for event in events_of(directory)] == [1, 2, 3, 4, 5, 6]


TAMPERINGS: list[tuple[Callable[[list[bytes]], list[bytes]], int]] = [
    (lambda lines: [lines[0], lines[1].replace(b'"number":1', b'"number":9'), *lines[2:]], 2),
    (lambda lines: lines[:1] + lines[2:], 2),
    (lambda lines: [lines[1], lines[0], *lines[2:]], 2),
    (lambda lines: [*lines[:3], lines[2], *lines[3:]], 4),
    (lambda lines: [*lines, b'{"event":"forged"}\n'], 6),
    (lambda lines: [*lines[:-1], lines[-1][:-1]], 5),
    (lambda lines: [b"\n", *lines], 1),
    (lambda lines: [*lines[:2], b"\xff\xfe\n", *lines[2:]], 3),
]


@pytest.mark.parametrize(("tamper", "broken_line"), TAMPERINGS)
def test_the_first_line_that_was_tampered_with_is_named(
    directory: Path, tamper: Callable[[list[bytes]], list[bytes]], broken_line: int
) -> None:
    written(directory)
    put(directory, tamper(lines_of(directory)))
    fault = verify(directory).fault
    assert fault is not None
    assert f"audit-000001.jsonl, line {broken_line}:" in fault


def test_a_cut_end_shows_against_a_head_noted_before(directory: Path) -> None:
    written(directory)
    head = verify(directory).head
    put(directory, lines_of(directory)[:-1])
    assert verify(directory).fault is None
    assert verify_log(directory, [head]).missing == (head,)
    assert verify_log(directory, [Head(4, verify(directory).head.hash)]).holds


def test_the_chain_goes_on_over_files(directory: Path) -> None:
    written(directory, count=40, file_bytes=1000)
    assert len(audit_files(directory)) > 3
    verdict = verify(directory)
    assert (verdict.fault, verdict.lines) == (None, 40)


def test_a_file_taken_out_of_the_middle_shows(directory: Path) -> None:
    written(directory, count=40, file_bytes=1000)
    audit_files(directory)[1].unlink()
    assert "audit-000003.jsonl, line 1" in str(verify(directory).fault)


def test_old_files_that_were_moved_away_are_no_fault(directory: Path) -> None:
    written(directory, count=40, file_bytes=1000)
    audit_files(directory)[0].unlink()
    verdict = verify(directory)
    assert verdict.fault is None
    assert verdict.first_seq > 1


def test_another_process_goes_on_where_the_last_one_stopped(directory: Path) -> None:
    written(directory)
    written(directory)
    assert (verify(directory).fault, verify(directory).lines) == (None, 10)


def test_two_that_write_to_one_chain_at_once_do_not_break_it(directory: Path) -> None:
    writers = [threading.Thread(target=written, args=(directory, 20, 2000)) for _ in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert (verify(directory).fault, verify(directory).lines) == (None, 80)


def test_a_line_that_a_crash_cut_short_is_taken_off_and_told(directory: Path) -> None:
    written(directory)
    put(directory, [*lines_of(directory)[:-1], lines_of(directory)[-1][:40]])
    written(directory, 1)
    assert verify(directory).fault is None
    events = events_of(directory)
    assert [event["event"] for event in events[-2:]] == [
        "audit.torn_line_removed",
        "test.happened",
    ]
    assert events[-2]["bytes"] == 40


def test_a_broken_line_stays_broken_when_the_log_goes_on(directory: Path) -> None:
    written(directory)
    put(directory, [*lines_of(directory), b"forged\n"])
    written(directory)
    assert "line 6" in str(verify(directory).fault)


def test_files_are_for_their_owner_only(directory: Path) -> None:
    written(directory)
    assert directory.stat().st_mode & 0o777 == 0o700
    assert audit_files(directory)[0].stat().st_mode & 0o777 == 0o600


def test_what_was_taken_is_on_the_disk_when_the_trail_closes(directory: Path) -> None:
    with AuditTrail(AuditFiles(directory), SteppedClock()).running() as trail:
        for number in range(500):
            trail.record("test.happened", number=number, nothing=None)
    events = events_of(directory)
    assert [event["number"] for event in events] == list(range(500))
    assert "nothing" not in events[0]
    assert verify(directory).fault is None


def test_text_that_is_not_unicode_does_not_stop_the_log(directory: Path) -> None:
    with AuditTrail(AuditFiles(directory), SteppedClock()).running() as trail:
        trail.record("test.happened", path="a\udcff", number=1 << 80)
    assert verify(directory).lines == 1


def test_what_does_not_fit_is_counted_and_the_count_is_an_event(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_module, "QUEUE_LENGTH", 10)
    drops: list[None] = []
    trail = AuditTrail(AuditFiles(directory), SteppedClock(), lambda: drops.append(None))
    for number in range(25):
        trail.record("test.happened", number=number)
    with trail.running():
        pass
    events = events_of(directory)
    assert (len(events), events[-1]["event"], events[-1]["count"]) == (11, "audit.dropped", 15)
    assert len(drops) == 15


def test_a_flood_of_refusals_does_not_push_out_other_events(directory: Path) -> None:
    clock = SteppedClock()
    with AuditTrail(AuditFiles(directory), clock).running() as trail:
        for _ in range(1000):
            trail.record("request.refused", code="invalid_api_key")
        trail.record("session.opened")
        clock.advance(1)
        trail.record("request.refused", code="key_revoked")
    kinds = [event["event"] for event in events_of(directory)]
    assert kinds.count("request.refused") == 51
    assert "session.opened" in kinds
    assert sum(e["count"] for e in events_of(directory) if e["event"] == "audit.dropped") == 950


class RefusesFirstWrites(AuditFiles):
    """A disk that is full for a while."""

    failures = 2

    def append(self, events):
        if self.failures:
            self.failures -= 1
            raise OSError(28, "No space left on device")
        return super().append(events)


def test_events_wait_while_the_disk_refuses_them(directory: Path, monkeypatch) -> None:
    monkeypatch.setattr(audit_module, "RETRY_S", 0.01)
    files = RefusesFirstWrites(directory)
    with AuditTrail(files, SteppedClock()).running() as trail:
        trail.record("test.happened", number=1)
        while files.failures:
            threading.Event().wait(0.01)
        trail.record("test.happened", number=2)
    assert [event["number"] for event in events_of(directory)] == [1, 2]


def test_a_writer_alone_has_no_directory_but_the_logs(directory: Path) -> None:
    for number in range(3):
        writer = AuditWriter(directory)
        writer.append([{"event": "test.happened", "number": number}])
        writer.close()
    assert chain_directories(directory) == [directory]
    assert [event["seq"] for event in events_of(directory)] == [1, 2, 3]


def test_writers_at_the_same_time_have_a_chain_each_and_the_next_ones_go_on_with_them(
    directory: Path,
) -> None:
    for number in range(3):
        writers = [AuditWriter(directory) for _ in range(3)]
        for writer in writers:
            writer.append([{"event": "test.happened", "number": number}])
        for writer in writers:
            writer.close()
    names = [path.name for path in chain_directories(directory)]
    assert names == ["audit", "writer-2", "writer-3"]
    verdict = verify_log(directory)
    assert verdict.holds
    assert [chain.lines for chain in verdict.chains.values()] == [3, 3, 3]


def test_a_place_that_became_free_is_taken_before_a_new_one_is_made(directory: Path) -> None:
    first, second = AuditWriter(directory), AuditWriter(directory)
    for writer in (first, second):
        writer.append([{"event": "test.happened"}])
    first.close()
    third = AuditWriter(directory)
    third.append([{"event": "test.happened"}])
    assert [chain.lines for chain in verify_log(directory).chains.values()] == [2, 1]
    for writer in (second, third):
        writer.close()


def test_a_trail_gives_its_place_back_when_it_closes(directory: Path) -> None:
    for _ in range(2):
        with AuditTrail(AuditWriter(directory), SteppedClock()).running() as trail:
            trail.record("test.happened")
    assert [event["seq"] for event in events_of(directory)] == [1, 2]


def in_two_chains(directory: Path) -> None:
    """Eight events, one per second, by two writers in turn."""
    writers = [AuditWriter(directory, 1000), AuditWriter(directory, 1000)]
    for second in range(8):
        event = {"at": f"2026-01-01T00:00:0{second}+00:00", "event": "test.happened", "n": second}
        writers[second % 2].append([event])
    for writer in writers:
        writer.close()


def test_what_several_wrote_is_read_in_the_order_of_time(directory: Path) -> None:
    in_two_chains(directory)
    numbers = [json.loads(line)["n"] for line in lines_by_time(directory)]
    assert numbers == list(range(8))
    assert [json.loads(line)["n"] for line in lines_by_time(directory, 3)] == [5, 6, 7]
    assert list(lines_by_time(directory, 0)) == []
    assert len(list(lines_by_time(directory, 100))) == 8


def test_a_change_in_any_chain_and_a_chain_taken_away_show(directory: Path) -> None:
    in_two_chains(directory)
    heads = [chain.head for chain in verify_log(directory).chains.values()]
    assert verify_log(directory, heads).holds
    other = directory / "writer-2"
    lines = lines_of(other)
    put(other, [lines[0].replace(b'"n":1', b'"n":9'), *lines[1:]])
    verdict = verify_log(directory)
    assert not verdict.holds
    assert verdict.chains["audit"].fault is None
    assert "line 1: its content was changed" in str(verdict.chains["writer-2"].fault)
    for path in audit_files(other):
        path.unlink()
    assert verify_log(directory).holds
    assert verify_log(directory, heads).missing == (heads[1],)


def test_a_line_that_is_no_json_does_not_stop_the_reading(directory: Path) -> None:
    written(directory, 2)
    put(directory, [*lines_of(directory), b"forged\n", b"7\n", b"torn"])
    assert [bytes(line) for line in lines_by_time(directory)][2:] == [b"forged\n", b"7\n"]


def test_a_chain_that_a_stopped_process_keeps_is_given_up_after_a_while(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(directory)
    monkeypatch.setattr(audit_files_module, "_LOCK_DEADLINE_S", 0.05)
    monkeypatch.setattr(audit_module, "RETRY_S", 0.01)
    stopped = os.open(directory / ".lock", os.O_RDWR)
    fcntl.flock(stopped, fcntl.LOCK_EX)
    with pytest.raises(TimeoutError):
        AuditFiles(directory).append([{"event": "test.happened"}])
    with AuditTrail(AuditWriter(directory), SteppedClock()).running() as trail:
        trail.record("test.happened")
        while not (directory / "writer-2").exists():
            threading.Event().wait(0.01)
    os.close(stopped)
    AuditFiles(directory).append([{"event": "test.happened"}])
    assert [chain.lines for chain in verify_log(directory).chains.values()] == [6, 1]


def test_a_long_last_line_is_found_whole(directory: Path) -> None:
    AuditFiles(directory).append([{"event": "one"}, {"event": "two", "code": "x" * 3_000_000}])
    AuditFiles(directory).append([{"event": "three"}])
    assert (verify(directory).fault, verify(directory).lines) == (None, 3)


def happened(number: int) -> dict[str, object]:
    return {"at": f"{number:04d}", "event": "test.happened", "number": number}


def test_the_oldest_files_go_when_the_log_is_too_large(directory: Path) -> None:
    """Of all chains; what is left holds, and says what went with the head that ended it."""
    idle = AuditWriter(directory, 500, first=2, total_bytes=4000)
    for number in range(10):
        idle.append([happened(number)])
    for path in audit_files(directory / "writer-2"):
        os.utime(path, (1, 1))
    writer = AuditWriter(directory, 500, total_bytes=4000)
    heads = {str(writer.append([happened(number)])) for number in range(10, 60)}
    for each in (idle, writer):
        each.close()
    chains = [audit_files(path) for path in chain_directories(directory)]
    assert sum(path.stat().st_size for files in chains for path in files) < 6000
    assert [len(files) >= 2 for files in chains] == [True, True]
    assert verify_log(directory).holds
    assert verify(directory).first_seq > 1
    removals = [e for e in events_of(directory) if e["event"] == "audit.file_removed"]
    assert removals
    assert heads.issuperset(e["head"] for e in removals if "writer" not in e["file"])


def test_a_log_that_cannot_be_pruned_is_written_on(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(root: Path, most_bytes: int) -> None:
        raise PermissionError

    monkeypatch.setattr(audit_writer_module, "prune", refuse)
    writer = AuditWriter(directory, 500, total_bytes=1000)
    for number in range(10):
        writer.append([happened(number)])
    writer.close()
    assert (verify(directory).fault, verify(directory).lines) == (None, 10)


def test_long_events_that_wait_are_bounded_by_their_bytes(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that refuses, and code that is recorded: the memory is not filled with it."""
    monkeypatch.setattr(audit_module, "QUEUE_BYTES", 10_000)
    trail = AuditTrail(AuditFiles(directory), SteppedClock())
    for _ in range(10):
        trail.record("execution.finished", code="x" * 3000)
    with trail.running():
        pass
    kinds = [event["event"] for event in events_of(directory)]
    assert kinds == ["execution.finished"] * 4 + ["audit.dropped"]
    assert events_of(directory)[-1]["count"] == 6
