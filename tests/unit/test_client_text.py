"""Text that a stranger's code printed: the same rules for the runner and for MCP, in linear time."""

import pytest

from runner.tables import table_text
from runner.text import trimmed_traceback
from sandbox_service.client.text import plain
from sandbox_service.client.tidy_html import tidy_html

BIG = 1_500_000


@pytest.mark.parametrize(
    ("printed", "left"),
    [
        ("a\rb", "b"),
        ("abc\rX", "Xbc"),
        ("abc\rXY\rZ", "ZYc"),
        ("10%\r20%\rdone\nnext", "done\nnext"),
        ("abc\r", "abc"),
        ("\r\rab", "ab"),
        ("a\r\nb", "a\nb"),
        ("\x1b[31m12\r3\r\n" * 20_000 + "x", "32\n" * 20_000 + "x"),
    ],
)
def test_of_a_line_that_was_drawn_over_stays_what_a_terminal_shows(printed: str, left: str) -> None:
    assert plain(printed) == left


@pytest.mark.parametrize(
    ("printed", "length"),
    [
        ("A" * BIG + "\rX" * BIG, BIG),
        ("A" * BIG + "\r" * BIG, BIG),
        ("\x1b]" * BIG, 0),
        ("\x1b[" + "0" * BIG, BIG),
        ("\x1b[" * BIG, BIG),
    ],
    ids=["drawn over", "returns", "titles", "an endless sequence", "sequences"],
)
def test_no_text_takes_longer_than_its_length_allows(printed: str, length: int) -> None:
    """Quadratic work on any of these would take hours."""
    assert len(plain(printed)) in (length, length + 1)


def test_a_traceback_of_many_spaces_is_read_in_linear_time() -> None:
    assert trimmed_traceback([" " * BIG + "x"]) == " " * BIG + "x"


@pytest.mark.parametrize(
    "piece",
    [
        "<!--",
        "<",
        "<a ",
        "</",
        "<?",
        "<a b='",
        "<a b='>",
        "<a/",
        "<b x=",
        "<a =",
        "<td a=b c",
        "<p>",
    ],
)
def test_no_html_takes_longer_than_its_length_allows(piece: str) -> None:
    """The parser of the standard library is cubic in tags that do not end."""
    html = piece * (200_000 // len(piece))
    assert "1" in (table_text(f"<table><tr><td>1</td></tr></table>{html}") or "")
    assert len(tidy_html(html)) <= 4 * len(html)


def test_elements_that_nest_without_end_are_tidied_in_linear_time() -> None:
    assert tidy_html("<div>" * 100_000 + "</p>" * 100_000).count("<div>") == 200
