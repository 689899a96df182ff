"""The executions of this sandbox: which is which, what is kept of them, and when one is over."""

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from agent.execution import Execution
from agent.wire import Message

KEPT_EXECUTIONS = 8
_REMEMBERED = 200
_IDLE = b'"idle"'


class Executions:
    """Routes the kernel's messages to the executions that caused them.

    `over` is called with an execution when its reply and its idle status have both come. The ring is as
    large as what the latest execution may show, so of that one no line is ever lost; what it has cleared
    or replaced may shrink.
    """

    def __init__(self, over: Callable[[Execution], None]) -> None:
        self._by_id: OrderedDict[str, Execution] = OrderedDict()
        self._over = over
        self._bytes = 0
        self._ring_bytes = 0

    def get(self, execution_id: str) -> Execution | None:
        return self._by_id.get(execution_id)

    def add(self, execution: Execution) -> None:
        self._by_id[execution.id] = execution
        self._ring_bytes = execution.most_bytes
        self._forget()
        self._make_room()

    def running(self) -> list[Execution]:
        """Those that have not ended, oldest first."""
        return [one for one in self._recent() if not one.is_finished]

    def report(self) -> list[dict[str, Any]]:
        """The state of those whose lines are kept."""
        return [
            {
                "id": one.id,
                "state": "finished" if one.is_finished else "running",
                "last_seq": one.last_seq,
            }
            for one in self._recent()
        ]

    def on_iopub(self, message: Message) -> None:
        execution = self._running(message)
        if execution is None:
            return
        self._append(execution, b"iopub", message)
        if message.msg_type == "status" and _IDLE in message.content:
            execution.has_idle = True
            self._end_if_over(execution)

    def on_shell(self, message: Message) -> None:
        execution = self._running(message)
        if execution is None:
            return
        self._append(execution, b"shell", message)
        if message.msg_type == "execute_reply":
            execution.has_reply = True
            self._end_if_over(execution)

    def finish(self, execution: Execution, end: dict[str, Any]) -> None:
        """Add the last line of an execution."""
        before = execution.kept_bytes
        execution.finish(end)
        self._grown(execution.kept_bytes - before)

    def _running(self, message: Message) -> Execution | None:
        execution = self._by_id.get(message.parent_id)
        return None if execution is None or execution.is_finished else execution

    def _end_if_over(self, execution: Execution) -> None:
        if execution.has_idle and execution.has_reply:
            self._over(execution)

    def _append(self, execution: Execution, channel: bytes, message: Message) -> None:
        before = execution.kept_bytes
        execution.add_message(channel, message)
        while execution.kept_bytes > execution.most_bytes:
            execution.drop_oldest()
        self._grown(execution.kept_bytes - before)

    def _grown(self, added_bytes: int) -> None:
        self._bytes += added_bytes
        self._make_room()

    def _make_room(self) -> None:
        """Let lines of earlier executions fall out of the ring, the oldest first; their ends stay."""
        if self._bytes <= self._ring_bytes:
            return
        for one in list(self._by_id.values())[:-1]:
            while self._bytes > self._ring_bytes and one.is_finished and len(one.lines) > 1:
                self._bytes -= one.drop_oldest()

    def _recent(self) -> list[Execution]:
        return list(self._by_id.values())[-KEPT_EXECUTIONS:]

    def _forget(self) -> None:
        """Of those before the last few keep the end only, so that their names are still known."""
        for one in list(self._by_id.values())[:-KEPT_EXECUTIONS]:
            while one.is_finished and len(one.lines) > 1:
                self._bytes -= one.drop_oldest()
        while len(self._by_id) > _REMEMBERED:
            _, oldest = self._by_id.popitem(last=False)
            self._bytes -= oldest.kept_bytes
