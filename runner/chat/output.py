"""The text of a running cell, cut into lines as a terminal would show them. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass

from runner.terminal import harmless
from runner.text import trimmed_traceback
from sandbox_service.client.outputs import IMAGE_TYPES, Output, joined

LONGEST_PENDING = 8192


@dataclass(frozen=True, slots=True)
class Line:
    """One finished line; `is_error` where it was written to standard error."""

    text: str
    is_error: bool = False


class LineFlow:
    """Takes the text of a stream as it comes; gives its lines once they are finished.

    `pending` is the line that is still being written: a progress bar lives there.
    """

    def __init__(self) -> None:
        self._text = ""
        self._is_error = False

    @property
    def pending(self) -> str:
        """The unfinished line as it would look now."""
        return harmless(self._text)

    def feed(self, text: str, *, is_error: bool = False) -> Iterator[Line]:
        """The lines that `text` finishes."""
        if is_error != self._is_error:
            yield from self.end()
            self._is_error = is_error
        *lines, rest = (self._text + text.replace("\r\n", "\n")).split("\n")
        self._text = _shortened(rest)
        yield from (Line(harmless(line), is_error) for line in lines)

    def end(self) -> Iterator[Line]:
        """The unfinished line, if there is one."""
        text, self._text = self.pending, ""
        if text:
            yield Line(text, self._is_error)


def lines_of(output: Output) -> list[Line]:
    """The lines of an output that is no stream: a traceback, or the text of a value."""
    if output.get("output_type") == "error":
        traceback = trimmed_traceback([str(part) for part in output.get("traceback") or ()])
        return [Line(line, is_error=True) for line in harmless(traceback).split("\n")]
    data = output.get("data") or {}
    if any(media_type in data for media_type in IMAGE_TYPES):
        return [Line("[picture]")]
    text = harmless(joined(data.get("text/plain", "")))
    return [Line(line) for line in text.split("\n")] if text else []


def _shortened(line: str) -> str:
    """A line that is written over and over need not be kept from its beginning."""
    if len(line) <= LONGEST_PENDING:
        return line
    start = line.rfind("\r", 0, -1)
    return line[start:] if start >= 0 else line[-LONGEST_PENDING:]
