"""What a chat shows of text that is still being written: tables for Markdown, output and cells."""

import io
from typing import Any

import pytest
from rich.console import Console

from runner.chat.cells import MOST_LINES, CellView
from runner.chat.markdown import MarkdownBlocks
from runner.chat.output import LONGEST_PENDING, Line, LineFlow, lines_of
from runner.chat.screen import summary
from runner.events import CallFinished, TurnFinished
from runner.limits import TurnUsage, Usage
from runner.shape import Shaped
from sandbox_service.client import OutputChanged


@pytest.mark.parametrize("size", [1, 3, 1000])
@pytest.mark.parametrize(
    ("text", "blocks"),
    [
        ("one\ntwo\n\nthree", ["one\ntwo", "three"]),
        ("\n\n\none\n\n\n\n", ["one"]),
        ("a\n```python\nx\n\ny\n```\nb", ["a\n```python\nx\n\ny\n```", "b"]),
        ("````\n```\n\n````\nb", ["````\n```\n\n````", "b"]),
        ("```\nnot closed\n\nx", ["```\nnot closed\n\nx"]),
        ("- a\n- b\n\n| c |\n|---|\n| d |\n", ["- a\n- b", "| c |\n|---|\n| d |\n"]),
    ],
)
def test_markdown_is_cut_into_blocks_however_it_arrives(
    text: str, blocks: list[str], size: int
) -> None:
    """An empty line inside a fence ends nothing."""
    stream, found = MarkdownBlocks(), list[str]()
    for start in range(0, len(text), size):
        found += stream.feed(text[start : start + size])
    if rest := stream.end():
        found.append(rest)
    assert found == blocks
    assert stream.rest == ""


@pytest.mark.parametrize(
    ("pieces", "lines", "pending"),
    [
        (["a\nb"], ["a"], "b"),
        (["a", "b\n", "c\n"], ["ab", "c"], ""),
        (["10%", "\r20%", "\r30%"], [], "30%"),
        (["10%\r", "20%\r", "done\n"], ["done"], ""),
        (["a\r", "\nb\r\n"], ["a", "b"], ""),
        (["\x1b[3", "1mred\x1b[0m\n"], ["red"], ""),
        (["\x1b]0;t\x07x\x9b1m\n"], ["x1m"], ""),
    ],
)
def test_output_becomes_lines_and_one_that_is_not_finished(
    pieces: list[str], lines: list[str], pending: str
) -> None:
    """A progress bar is one line, written over and over; nothing steers the terminal."""
    flow = LineFlow()
    assert [line.text for piece in pieces for line in flow.feed(piece)] == lines
    assert flow.pending == pending


def test_an_endless_line_is_not_kept_from_its_beginning() -> None:
    """A progress bar that runs for hours takes no memory."""
    flow = LineFlow()
    for number in range(3000):
        assert list(flow.feed(f"\r{number} of 3000")) == []
    assert len(flow._text) <= LONGEST_PENDING + 20
    assert flow.pending == "2999 of 3000"


def test_standard_error_ends_a_line_of_standard_output() -> None:
    """The two are never mixed in one line."""
    flow = LineFlow()
    assert list(flow.feed("out")) == []
    assert list(flow.feed("err\n", is_error=True)) == [Line("out"), Line("err", is_error=True)]


@pytest.mark.parametrize(
    ("output", "lines"),
    [
        ({"output_type": "execute_result", "data": {"text/plain": "a\nb"}}, ["a", "b"]),
        (
            {"output_type": "display_data", "data": {"image/png": "AA", "text/plain": "<F>"}},
            ["[picture]"],
        ),
        ({"output_type": "display_data", "data": {"application/x": "AA"}}, []),
        ({"output_type": "error", "traceback": ["\x1b[31mE: x\x1b[0m"]}, ["E: x"]),
    ],
)
def test_other_outputs_are_lines_too(output: dict[str, Any], lines: list[str]) -> None:
    """Pictures are drawn elsewhere."""
    assert [line.text for line in lines_of(output)] == lines


class Seen:
    """A cell view, and what was written by it."""

    def __init__(self) -> None:
        self._file = io.StringIO()
        self.view = CellView(Console(file=self._file, width=60, color_system=None))

    def prints(self, text: str) -> None:
        node = {"output_type": "stream", "name": "stdout", "text": text}
        self.view.output(OutputChanged(1, "append", 0, node))

    @property
    def lines(self) -> list[str]:
        return self._file.getvalue().splitlines()


def test_code_is_written_once_line_by_line() -> None:
    """As it comes; it is not repeated when it runs."""
    seen = Seen()
    seen.view.write_code(0, "x = '''a\nb")
    assert seen.lines == ["╭─ python", "│ x = '''a"]
    seen.view.write_code(0, "'''\nprint(x)")
    seen.view.run("x = '''a\nb'''\nprint(x)")
    assert seen.lines[1:] == ["│ x = '''a", "│ b'''", "│ print(x)"]


def test_code_that_did_not_come_in_pieces_is_shown_when_it_runs() -> None:
    """Endpoints without streamed arguments."""
    seen = Seen()
    seen.view.run("print(1)\n")
    assert seen.lines == ["╭─ python", "│ print(1)"]


def test_code_that_was_in_the_answers_text_is_not_shown_again() -> None:
    """Models that write fences."""
    seen = Seen()
    seen.view.note_said("I run\n```python\nprint(1)\n```")
    seen.view.run("print(1)")
    assert seen.lines == ["╭─ running"]


def test_several_cells_of_one_reply_are_told_apart() -> None:
    """Written first, run then, in their order."""
    seen = Seen()
    seen.view.write_code(0, "a")
    seen.view.write_code(1, "b")
    for code in ("a", "b"):
        seen.view.run(code)
        seen.prints(f"{code}!\n")
        seen.view.finish(CallFinished(Shaped("")))
    assert [line for line in seen.lines if line[0] == "╭"] == [
        "╭─ python", "╭─ python 2", "╭─ running 1", "╭─ running 2"
    ]  # fmt: skip


def test_a_flood_of_output_is_cut_on_the_screen() -> None:
    """The rest is in the notebook."""
    seen = Seen()
    seen.view.run("x")
    seen.prints("line\n" * (MOST_LINES + 5))
    seen.view.finish(CallFinished(Shaped("")))
    assert seen.lines.count("│ line") == MOST_LINES
    assert "│ 5 more lines: /save a notebook to see them" in seen.lines


def test_a_line_that_is_not_finished_is_pending_and_written_at_the_end() -> None:
    """Cut to the window while it moves."""
    seen = Seen()
    seen.view.run("x")
    seen.prints("50%" + "." * 100)
    assert seen.view.pending is not None
    assert len(seen.view.pending.plain) == 60
    seen.view.end()
    assert seen.lines[-2].startswith("│ 50%...")
    assert seen.lines[-1] == "╰─ broken off"


@pytest.mark.parametrize(
    ("turn", "text"),
    [
        (
            TurnFinished("", "answered", 1, TurnUsage(Usage(1200, 1), requests=1)),
            "1 request · 1,200 tokens in, 1 out",
        ),
        (
            TurnFinished(
                "",
                "step_limit",
                2,
                TurnUsage(Usage(1, 2, is_estimated=True), 2, 3, sandbox_s=1.25, cost=0.5),
            ),
            "stopped: the limit of steps for this turn is reached · 2 requests · "
            "about 1 tokens in, 2 out · sandbox 1.2 s · cost 0.5000",
        ),
    ],
)
def test_a_turn_says_what_it_used(turn: TurnFinished, text: str) -> None:
    """And why it stopped."""
    assert summary(turn) == text
