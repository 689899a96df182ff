"""A turn of the assistant, shown in a terminal as it happens."""

import sys
from io import TextIOWrapper
from typing import TextIO

from runner.events import (
    CallFinished,
    CodeDelta,
    CodeStarted,
    Event,
    FileMade,
    OutputSeen,
    RetryWaiting,
    TextDelta,
)
from runner.shape import SIGNATURES
from runner.text import first_and_last_lines, trimmed_traceback
from sandbox_service.client import OutputChanged
from sandbox_service.client.results import Output, joined
from sandbox_service.client.text import plain, size_text

BAR = "  │ "
SHOWN_LINES = 30
_C1_CONTROLS = dict.fromkeys(range(0x80, 0xA0))


class Terminal:
    """Writes events to a text stream: prose as it is, code and output behind a bar."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._at_line_start = True
        self._in_code = False

    def show(self, event: Event) -> None:
        """Show one event; what is for the model only is left out."""
        match event:
            case TextDelta(text=text):
                self._write(harmless(text))
            case CodeDelta():
                pass  # the whole code follows when it runs
            case RetryWaiting(wait_s=wait_s):
                self.line(f"[the model is busy: asking again in {wait_s:.0f} s]")
            case CodeStarted(code=code):
                self.line("  ┌ python")
                self._behind_bar(code)
                self._in_code = True
            case OutputSeen(change=change):
                self._output(_text_of_change(change))
            case FileMade(artifact=artifact):
                self._output(f"[file {artifact.path}, {size_text(artifact.size)}]")
            case CallFinished():
                self._output(_ending_of(event))
                self.line("  └")
                self._in_code = False
            case _:
                self._end_line()

    def line(self, text: str) -> None:
        """A line of its own."""
        self._end_line()
        self._write(f"{harmless(text)}\n")

    def _output(self, text: str) -> None:
        """Text from the sandbox, set off from the code before it."""
        if not text.strip():
            return
        if self._in_code:
            self.line("  ├ output")
            self._in_code = False
        self._behind_bar(text)

    def _behind_bar(self, text: str) -> None:
        shown = first_and_last_lines(text.strip("\n"), SHOWN_LINES)
        self.line("\n".join(f"{BAR}{line}" for line in shown.split("\n")))

    def _end_line(self) -> None:
        if not self._at_line_start:
            self._write("\n")

    def _write(self, text: str) -> None:
        if text:
            self._stream.write(text)
            self._stream.flush()
            self._at_line_start = text.endswith("\n")


def harmless(text: str) -> str:
    """The text without what steers a terminal: models repeat what data tells them."""
    return plain(text).translate(_C1_CONTROLS)


def standard_terminal() -> Terminal:
    """Standard output; what its encoding cannot show is written as escapes."""
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    return Terminal(sys.stdout)


def _ending_of(event: CallFinished) -> str:
    """What ended the call, where the outputs do not say it."""
    if event.result is None:
        return event.shaped.text
    return "" if event.result.status in ("ok", "error") else f"[{event.result.status}]"


def _text_of_change(change: OutputChanged) -> str:
    """What is new on the screen: nothing for a cleared list."""
    return "" if change.action == "clear" else _text_of(change.output)


def _text_of(output: Output) -> str:
    kind = output.get("output_type")
    if kind == "stream":
        return plain(joined(output.get("text", "")))
    if kind == "error":
        return trimmed_traceback([str(part) for part in output.get("traceback") or ()])
    data = output.get("data") or {}
    if any(media_type in data for media_type in SIGNATURES):
        return "[picture]"
    return plain(joined(data.get("text/plain", "")))
