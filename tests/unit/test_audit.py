"""The audit log: a chain in which every change shows, whatever stops or floods its writer."""

import json
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from sandbox_service.tenants import audit as audit_module
from sandbox_service.tenants.audit import AuditTrail
from sandbox_service.tenants.audit_chain import Head
from sandbox_service.tenants.audit_files import AuditFiles, audit_files, verify
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
    assert "cut or written anew" in str(verify(directory, head).fault)
    assert verify(directory, Head(4, verify(directory).head.hash)).fault is None


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


def test_two_processes_that_write_at_once_make_one_chain(directory: Path) -> None:
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
