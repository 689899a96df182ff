"""The chat on a real terminal: text as Markdown, code in colours, a spinner while something works."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markdown import Markdown
from rich.spinner import Spinner
from rich.text import Text

from runner.chat.cells import CellView
from runner.chat.markdown import MarkdownBlocks
from runner.chat.pictures import PictureProtocol, drawn, room_of, window_of
from runner.chat.screen import saved_text, summary
from runner.events import (
    CallFinished,
    CodeDelta,
    CodeStarted,
    Event,
    OutputSeen,
    RetryWaiting,
    TextDelta,
    TurnFinished,
)
from runner.terminal import harmless
from sandbox_service.client import Image
from sandbox_service.client.outputs import images_of

REFRESHES_PER_S = 10


class RichScreen:
    """Writes what is settled for good; below it, one area shows what is still being made."""

    def __init__(self, console: Console, pictures: PictureProtocol | None) -> None:
        self.shows_pictures = pictures is not None
        self._console = console
        self._pictures = pictures
        self._markdown = MarkdownBlocks()
        self._cells = CellView(console)
        self._spinner = Spinner("dots")
        self._live: Live | None = None
        self._doing = ""
        self._since = 0.0

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Show the moving area while the turn lasts."""
        self._begin("thinking")
        with Live(
            get_renderable=self._moving,
            console=self._console,
            transient=True,
            refresh_per_second=REFRESHES_PER_S,
        ) as self._live:
            try:
                yield
            finally:
                self._end_text()
                self._cells.end()
        self._live = None

    def show(self, event: Event) -> None:
        """Show one event of the turn."""
        match event:
            case TextDelta(text=text):
                self._text(harmless(text))
            case CodeDelta(call=call, text=text):
                self._end_text()
                self._cells.write_code(call, text)
                self._begin("writing code", restart=False)
            case CodeStarted(code=code):
                self._end_text()
                self._cells.run(code)
                self._begin("running")
            case OutputSeen():
                self._output(event)
            case CallFinished():
                self._cells.finish(event)
                self._begin("thinking")
            case RetryWaiting(wait_s=wait_s):
                self.note(f"the model is busy: asking again in {wait_s:.0f} s")
            case TurnFinished():
                self._end_text()
                self.note(summary(event))

    def note(self, text: str) -> None:
        """A dim line."""
        self._console.print(Text(harmless(text), style="dim"))

    def complain(self, text: str) -> None:
        """A red line."""
        self._console.print(Text(harmless(text), style="red"))

    def saved(self, paths: Sequence[Path]) -> None:
        """A line per file, which opens it where the terminal follows links."""
        for path in paths:
            link = f"green link {path.resolve().as_uri()}"
            self._console.print(Text("saved ", "dim"), Text(saved_text(path), style=link), sep="")

    def _text(self, text: str) -> None:
        for block in self._markdown.feed(text):
            self._block(block)
        self._cells.note_said(text)

    def _end_text(self) -> None:
        if block := self._markdown.end():
            self._block(block)

    def _block(self, block: str) -> None:
        self._console.print(Markdown(block))
        self._console.print()

    def _output(self, event: OutputSeen) -> None:
        self._cells.output(event.change)
        if event.change.action in ("append", "replace"):
            for image in images_of(event.change.output):
                self._picture(image)

    def _picture(self, image: Image) -> None:
        """Draw a picture, with the moving area out of its way."""
        if self._pictures is None or self._live is None:
            return
        window = window_of(self._console.file.fileno())
        room = room_of(self._console.width, self._console.height, window)
        sequence = drawn(image, self._pictures, room)
        if sequence is not None:
            self._live.stop()
            self._console.file.write(f"{sequence}\n")
            self._console.file.flush()
            self._live.start()

    def _begin(self, doing: str, *, restart: bool = True) -> None:
        if restart or doing != self._doing:
            self._doing, self._since = doing, time.monotonic()

    def _moving(self) -> RenderableType:
        """The unfinished text, the unfinished line of output, and what goes on for how long."""
        parts: list[RenderableType] = []
        if rest := self._markdown.rest.strip():
            parts.append(Markdown("\n".join(rest.split("\n")[-self._console.height // 2 :])))
        if pending := self._cells.pending:
            parts.append(pending)
        seconds = time.monotonic() - self._since
        hint = ", Ctrl-C interrupts" if self._doing == "running" and seconds > 1 else ""
        self._spinner.update(text=Text(f"{self._doing} {seconds:.0f} s{hint}", style="dim"))
        return Group(*parts, self._spinner)
