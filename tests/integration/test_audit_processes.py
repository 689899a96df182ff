"""The audit log while several real processes write it, one of them is stopped and one is killed."""

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sandbox_service.tenants.audit_files import AuditFiles
from sandbox_service.tenants.audit_log import chain_directories, lines_by_time, verify_log

WRITES = """
import sys, time
from pathlib import Path
from sandbox_service.domain.clock import SystemClock
from sandbox_service.tenants.audit import AuditTrail
from sandbox_service.tenants.audit_writer import AuditWriter

writer = AuditWriter(Path(sys.argv[1]), 100_000)
with AuditTrail(writer, SystemClock()).running() as trail:
    for number in range(int(sys.argv[2])):
        trail.record("test.happened", writer=sys.argv[3], number=number)
        time.sleep(0.001)
    sys.stdin.read()
"""


@contextmanager
def writing(directory: Path, name: str, count: int = 100_000) -> Iterator[subprocess.Popen[bytes]]:
    """A process that writes an event each millisecond, and then stays until `finish`."""
    command = [sys.executable, "-c", WRITES, str(directory), str(count), name]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            process.kill()


def finish(*processes: subprocess.Popen[bytes]) -> None:
    for process in processes:
        process.communicate(timeout=30)
        assert process.returncode == 0


def numbers_by_writer(directory: Path) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for line in lines_by_time(directory):
        event = json.loads(line)
        if event["event"] == "test.happened":
            found.setdefault(event["writer"], []).append(event["number"])
    return found


def wait_for_lines(directory: Path, count: int) -> None:
    deadline = time.monotonic() + 20
    while sum(1 for _ in lines_by_time(directory)) < count:
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "audit"


def test_what_several_processes_wrote_is_whole_and_nothing_is_lost(directory: Path) -> None:
    with (
        writing(directory, "a", 500) as one,
        writing(directory, "b", 500) as two,
        writing(directory, "c", 500) as three,
    ):
        wait_for_lines(directory, 1500)
        finish(one, two, three)
    assert verify_log(directory).holds
    assert numbers_by_writer(directory) == {name: list(range(500)) for name in "abc"}
    assert len(chain_directories(directory)) == 3


def test_a_process_that_is_stopped_holds_up_none_of_the_others(directory: Path) -> None:
    with writing(directory, "stopped") as stopped:
        wait_for_lines(directory, 50)
        os.kill(stopped.pid, signal.SIGSTOP)
        with writing(directory, "other", 300) as other:
            finish(other)
        assert numbers_by_writer(directory)["other"] == list(range(300))
        os.kill(stopped.pid, signal.SIGCONT)
        wait_for_lines(directory, sum(1 for _ in lines_by_time(directory)) + 300)
    assert verify_log(directory).holds


def test_who_comes_after_a_killed_process_goes_on_with_its_chain(directory: Path) -> None:
    for number in range(3):
        with writing(directory, str(number)):
            wait_for_lines(directory, 50 * (number + 1))
    verdict = verify_log(directory)
    assert verdict.holds
    assert list(verdict.chains) == ["audit"]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    inherited = {name: v for name, v in os.environ.items() if not name.startswith("SANDBOX_")}
    return {**inherited, "SANDBOX_DATA_DIR": str(tmp_path)}


def command(environment: dict[str, str], *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "sandbox_service", *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_command_line_reads_and_checks_what_all_processes_wrote(
    directory: Path, environment: dict[str, str]
) -> None:
    with writing(directory, "a", 100) as one, writing(directory, "b", 100) as two:
        wait_for_lines(directory, 200)
        assert command(environment, "keys", "create", "--tenant", "acme").returncode == 0
        finish(one, two)
    verified = command(environment, "audit", "verify")
    assert verified.returncode == 0, verified.stderr
    assert [line.split(":")[0] for line in verified.stdout.splitlines()] == ["audit", "writer-2"]
    heads = [line.split("head ")[1] for line in verified.stdout.splitlines()]
    noted = ("--head", heads[0], "--head", heads[1], "--head", f"7:{'0' * 64}")
    forged = command(environment, "audit", "verify", *noted)
    assert forged.returncode == 1
    assert forged.stderr == f"head 7:{'0' * 64} is not in the log: it was cut or written anew\n"
    told = command(environment, "audit", "tail", "-n", "all").stdout.splitlines()
    events = [json.loads(line) for line in told]
    assert len(events) == 201
    assert [event["at"] for event in events] == sorted(event["at"] for event in events)
    assert "key.created" in {event["event"] for event in events}


def test_a_key_is_made_and_noted_while_a_stopped_process_keeps_the_log(
    directory: Path, environment: dict[str, str]
) -> None:
    AuditFiles(directory).append([{"event": "test.happened"}])
    stopped = os.open(directory / ".lock", os.O_RDWR)
    fcntl.flock(stopped, fcntl.LOCK_EX)
    try:
        made = command(environment, "keys", "create", "--tenant", "acme")
    finally:
        os.close(stopped)
    assert made.returncode == 0, made.stderr
    assert verify_log(directory).holds
    [last] = command(environment, "audit", "tail", "-n", "1").stdout.splitlines()
    assert json.loads(last)["event"] == "key.created"
