"""Who decides how an execution ended."""

import pytest

from sandbox_service.domain.ports import ExecutionEnd
from sandbox_service.sessions.outcome import Circumstances, death_notice, outcome

FINISHED = ExecutionEnd(1, "finished", 1)
KILLED = ExecutionEnd(1, "kernel_died", 2, exit_signal=9)
EXITED = ExecutionEnd(1, "kernel_died", 2, exit_code=1)


@pytest.mark.parametrize(
    ("end", "around", "expected"),
    [
        (FINISHED, Circumstances("ok"), "ok"),
        (FINISHED, Circumstances("error"), "error"),
        (FINISHED, Circumstances("aborted"), "error"),
        (FINISHED, Circumstances(None), "error"),
        (FINISHED, Circumstances("error", was_interrupted=True), "interrupted"),
        (FINISHED, Circumstances("aborted", was_interrupted=True), "interrupted"),
        (FINISHED, Circumstances("ok", was_interrupted=True), "ok"),
        (FINISHED, Circumstances("error", passed_deadline=True), "timeout"),
        (FINISHED, Circumstances("ok", passed_deadline=True), "timeout"),
        (EXITED, Circumstances(), "kernel_died"),
        (KILLED, Circumstances(), "kernel_died"),
        (KILLED, Circumstances(engine_saw_oom=True), "out_of_memory"),
        (KILLED, Circumstances(engine_saw_oom=True, passed_deadline=True), "out_of_memory"),
        (KILLED, Circumstances(passed_deadline=True), "timeout"),
        (KILLED, Circumstances(was_interrupted=True), "interrupted"),
    ],
)
def test_the_outcome_follows_from_what_happened(end, around, expected):
    assert outcome(end, around) == expected


def test_a_death_is_told_with_its_exit_code():
    assert "exit code 1" in death_notice(EXITED, outcome(EXITED, Circumstances()))
