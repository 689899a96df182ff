"""A turn of the assistant, shown in a terminal as it happens."""

from typing import TextIO

from runner.events import CallFinished, CodeStarted, Event, FileMade, OutputSeen, TextDelta
from runner.shape import SIGNATURES
from runner.text import first_and_last_lines, plain, size_text, trimmed_traceback
from sandbox_service.client import OutputChanged
from sandbox_service.client.results import Output, joined

BAR = "  │ "
SHOWN_LINES = 30


class Terminal:
    """Writes events to a text stream: prose as it is, code and output behind a bar."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._at_line_start = True

    def show(self, event: Event) -> None:
        """Show one event; what is for the model only is left out."""
        match event:
            case TextDelta(text=text):
                self._write(text)
            case CodeStarted(code=code):
                self._block("python", code)
            case OutputSeen(change=change):
                self._block("", _text_of_change(change))
            case FileMade(artifact=artifact):
                self.line(f"{BAR}file: {artifact.path} ({size_text(artifact.size)})")
            case CallFinished(result=None, shaped=shaped):
                self._block("not run to its end", shaped.text)
            case CallFinished(result=result) if result and result.status not in ("ok", "error"):
                self.line(f"{BAR}[{result.status}]")
            case _:
                self._end_line()

    def line(self, text: str) -> None:
        """A line of its own."""
        self._end_line()
        self._write(f"{text}\n")

    def _block(self, title: str, text: str) -> None:
        if title:
            self.line(f"  ┌ {title}")
        if text.strip():
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
