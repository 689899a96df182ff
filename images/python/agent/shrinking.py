"""Lines whose output a later one has cleared or replaced: kept small, so that numbers and steps stay what they were."""

import json
from collections import deque
from collections.abc import Iterator

from agent.outputs import display_id_of
from agent.wire import Message

_KEPT = ("name", "transient", "wait", "execution_count")
_WORTH_BYTES = 2048


class Superseded:
    """Says, by number, which lines of an execution are of no more use to anybody."""

    def __init__(self) -> None:
        self._numbers: deque[int] = deque()
        self._latest: dict[str, int] = {}
        self._cleared = 0

    def note(self, message: Message, number: int) -> None:
        """The message has become line `number`."""
        if message.msg_type == "clear_output":
            self._numbers.extend(range(self._cleared + 1, number))
            self._cleared = number
            self._latest.clear()
        elif name := display_id_of(message):
            if message.msg_type == "update_display_data" and name in self._latest:
                self._numbers.append(self._latest[name])
            self._latest[name] = number

    def taken(self) -> Iterator[int]:
        """Each of them once, the oldest first."""
        while self._numbers:
            yield self._numbers.popleft()


def shrunk(line: bytes) -> bytes:
    """The line as one of the same kind that shows nothing; as it is when that gains little."""
    if len(line) < _WORTH_BYTES:
        return line
    try:
        parsed = json.loads(line)
        content = parsed["content"]
        small = {name: content[name] for name in _KEPT if name in content}
        if "data" in content:
            small["data"] = {}
        elif "text" in content:
            small["text"] = " "
        else:
            return line
        return json.dumps({**parsed, "metadata": {}, "content": small}).encode() + b"\n"
    except (ValueError, KeyError, TypeError, RecursionError):
        return line
