"""Cells on a terminal: code line by line as it is written, output line by line as it is printed."""

from collections.abc import Iterable

from rich.console import Console
from rich.syntax import Syntax
from rich.text import Text

from runner.chat.output import Line, LineFlow, lines_of
from runner.events import CallFinished
from runner.terminal import harmless
from sandbox_service.client import ExecutionResult, OutputChanged

MOST_LINES = 200
"""Lines of one cell's output that are shown; a notebook keeps all of them."""

BAR, FIRST, MIDDLE, LAST = "│ ", "╭─ ", "├─ ", "╰─ "
FRAME = "dim cyan"
_HIGHLIGHTER = Syntax("", "python", theme="ansi_dark", background_color="default")


class CellView:
    """Writes the cells of one turn; `pending` is a line of output that is not finished yet."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._code = ""
        self._call = -1
        self._lines_written = 0
        self._written: list[str] = []
        self._said = ""
        self._flow = LineFlow()
        self._output_lines = 0
        self._is_open = False

    @property
    def pending(self) -> Text | None:
        """The unfinished line of output, cut to the window."""
        line = self._flow.pending
        if not line.strip():
            return None
        return Text.assemble((BAR, FRAME), line[: self._console.width - len(BAR)])

    def note_said(self, text: str) -> None:
        """Remember what the model said: code in it need not be shown again."""
        self._said += text

    def write_code(self, call: int, text: str) -> None:
        """Show code that the model is writing, line by line."""
        if call != self._call:
            self._end_code()
            if call == 0:
                self._written = []  # a new reply
            self._frame(FIRST, f"python {call + 1}" if call else "python")
            self._call = call
        self._code += text
        self._code_lines(self._code.count("\n"))

    def run(self, code: str) -> None:
        """A cell is sent to the sandbox: show it, unless it was seen as it was written."""
        several = len(self._written) + (self._call >= 0) > 1
        self._end_code()
        if code in self._written:
            if several:
                self._frame(FIRST, f"running {self._written.index(code) + 1}")
        elif code.strip() in self._said:
            self._frame(FIRST, "running")
        else:
            self.write_code(0, code)
            self._end_code()
        self._output_lines, self._is_open = 0, True

    def output(self, change: OutputChanged) -> None:
        """Show what the cell prints and displays."""
        node = change.output
        if change.action == "clear":
            return
        if node.get("output_type") == "stream":
            is_error = node.get("name") == "stderr"
            self._output(self._flow.feed(str(node.get("text", "")), is_error=is_error))
        elif change.action == "append":
            self._output(self._flow.end())
            self._output(lines_of(node))

    def finish(self, finished: CallFinished) -> None:
        """Show how the call ended."""
        self._output(self._flow.end())
        if finished.result is None and finished.shaped.text:
            self._end_code()
            self._output(Line(harmless(line)) for line in finished.shaped.text.split("\n"))
        if self._output_lines > MOST_LINES:
            hidden = self._output_lines - MOST_LINES
            self._frame(BAR, f"{hidden:,} more lines: /save a notebook to see them")
        self._frame(LAST, _ending(finished.result))
        self._is_open = False

    def end(self) -> None:
        """The turn is over: close what is open, and forget."""
        self._end_code()
        self._output(self._flow.end())
        if self._is_open:
            self._frame(LAST, "broken off")
        self._written, self._said, self._is_open = [], "", False

    def _output(self, lines: Iterable[Line]) -> None:
        for line in lines:
            if self._output_lines == 0:
                self._frame(MIDDLE, "output")
            self._output_lines += 1
            if self._output_lines <= MOST_LINES:
                self._bar(Text(line.text, style="red" if line.is_error else ""))

    def _end_code(self) -> None:
        if self._call < 0:
            return
        self._code_lines(len(self._code.rstrip("\n").split("\n")))
        self._written.append(self._code)
        self._code, self._call, self._lines_written = "", -1, 0

    def _code_lines(self, count: int) -> None:
        """Write the first `count` lines, as far as they are not written."""
        if count <= self._lines_written:
            return
        for line in _highlighted(self._code)[self._lines_written : count]:
            self._bar(line)
        self._lines_written = count

    def _bar(self, line: Text) -> None:
        self._console.print(Text.assemble((BAR, FRAME), line), soft_wrap=True)

    def _frame(self, mark: str, text: str) -> None:
        self._console.print(Text(f"{mark}{text}", style=FRAME))


def _highlighted(code: str) -> list[Text]:
    """The code's lines in colours. The whole of it is read: strings may go over lines."""
    return list(_HIGHLIGHTER.highlight(harmless(code)).split("\n", allow_blank=True))


def _ending(result: ExecutionResult | None) -> str:
    if result is None:
        return "not run"
    seconds = f"{result.duration_s or 0:.1f} s"
    status = result.status.replace("_", " ")
    lost = ", variables are gone" if result.state == "reset" else ""
    return f"{seconds}{lost}" if result.is_ok else f"{status}, {seconds}{lost}"
