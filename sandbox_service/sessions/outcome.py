"""How an execution ended, decided from the kernel's reply, the agent's last line and the engine's word. Pure."""

from dataclasses import dataclass

from sandbox_service.domain.ports import ExecutionEnd
from sandbox_service.domain.values import ExecutionStatus

SIGKILL = 9


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What happened around an execution."""

    reply_status: str | None = None
    passed_deadline: bool = False
    was_interrupted: bool = False
    engine_saw_oom: bool = False


def outcome(end: ExecutionEnd, around: Circumstances) -> ExecutionStatus:
    """The final status of an execution whose last line has come."""
    if end.reason == "kernel_died":
        return _death(end, around)
    if around.passed_deadline:
        return ExecutionStatus.TIMEOUT
    if around.reply_status == "ok":
        return ExecutionStatus.OK
    return ExecutionStatus.INTERRUPTED if around.was_interrupted else ExecutionStatus.ERROR


def _death(end: ExecutionEnd, around: Circumstances) -> ExecutionStatus:
    if around.engine_saw_oom:
        return ExecutionStatus.OUT_OF_MEMORY
    if around.passed_deadline:
        return ExecutionStatus.TIMEOUT
    if around.was_interrupted:
        return ExecutionStatus.INTERRUPTED
    return ExecutionStatus.KERNEL_DIED


def death_notice(end: ExecutionEnd, status: ExecutionStatus) -> str:
    """One sentence on a kernel's death for who reads the result."""
    how = {
        ExecutionStatus.OUT_OF_MEMORY: "The kernel was killed because the memory limit was reached",
        ExecutionStatus.TIMEOUT: "The kernel was killed at the time limit",
        ExecutionStatus.INTERRUPTED: "The kernel was restarted while the code ran",
    }.get(status) or f"The kernel died ({_exit_text(end)})"
    return f"{how}; variables are gone, files in /mnt/data are kept."


def _exit_text(end: ExecutionEnd) -> str:
    if end.exit_signal is not None:
        return f"signal {end.exit_signal}"
    return "exit code unknown" if end.exit_code is None else f"exit code {end.exit_code}"
