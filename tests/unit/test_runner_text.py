"""Terminal output made plain and short."""

import re

import pytest

from runner.text import first_and_last_lines, head_and_tail, trimmed_traceback
from runner.tokens import token_estimate
from sandbox_service.client.text import plain, size_text


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("plain\n", "plain\n"),
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b[38;5;28;01mbold\x1b[39;00m", "bold"),
        ("\x1b]0;title\x07text", "text"),
        ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("dos\r\nline", "dos\nline"),
        (" 10%\r 50%\r100%\ndone", "100%\ndone"),
        ("long text\rover", "over text"),
        ("ends with\r", "ends with"),
        ("a\x00b\x08c\x7f", "abc"),
        ("tab\tstays", "tab\tstays"),
        ("Zürich 日本 🙂", "Zürich 日本 🙂"),
        ("\x1b", ""),
    ],
)
def test_terminal_text_becomes_plain(raw: str, expected: str) -> None:
    """Colours and controls go, progress bars keep their last state."""
    assert plain(raw) == expected


@pytest.mark.parametrize("words", [1, 50, 64])
def test_short_text_is_left_alone(words: int) -> None:
    """Up to the limit nothing is cut."""
    text = "some words\n" * words
    assert head_and_tail(text, words * 4) == text


def test_long_text_keeps_its_beginning_and_end() -> None:
    """Cuts fall on line ends; the middle says how much is missing."""
    text = "".join(f"line {number}\n" for number in range(1000))
    short = head_and_tail(text, 100)
    assert short.startswith("line 0\nline 1\n")
    assert short.endswith("line 998\nline 999\n")
    assert "characters left out" in short
    assert token_estimate(short) < 120
    lines = [line for line in short.splitlines() if not line.startswith("[")]
    assert all(line in text.splitlines() for line in lines)


@pytest.mark.parametrize("sign", ["x", "=", "7", "数", "🙂"])
def test_one_endless_line_is_cut_too(sign: str) -> None:
    """Whatever it consists of; the count of what is missing is right."""
    short = head_and_tail(sign * 300_000, 100)
    assert token_estimate(short) < 130
    (left_out,) = re.findall(r"\n\[\.\.\. ([\d,]+) characters left out \.\.\.\]\n", short)
    assert short.count(sign) + int(left_out.replace(",", "")) - left_out.count(sign) == 300_000


def test_a_text_of_many_megabytes_is_cut_at_once() -> None:
    """Only its two ends are looked at."""
    text = "value = compute(12.5)\n" * 1_000_000
    assert token_estimate(head_and_tail(text, 4000)) < 4200


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ("a\nb\nc", "a\nb\nc"),
        ("a\nb\nc\nd\ne", "a\nb\n[... 2 lines left out ...]\ne"),
    ],
)
def test_many_lines_keep_the_first_and_last(lines: str, expected: str) -> None:
    """Two thirds from the beginning."""
    assert first_and_last_lines(lines, 3) == expected


def test_a_traceback_keeps_the_users_frames() -> None:
    """Of a run of library frames only the last one's name stays; rules and colours go."""
    parts = [
        "\x1b[31m" + "-" * 75 + "\x1b[39m",
        "\x1b[31mKeyError\x1b[39m        Traceback (most recent call last)",
        "\x1b[36mCell\x1b[39m\x1b[36m \x1b[39m\x1b[32mIn[1]\x1b[39m, line 1\n----> 1 f(df)\n",
        "File /mnt/data/mine.py:3, in f(d)\n----> 3 d['nope']\n",
        "File /usr/lib/python3/dist-packages/pandas/core/frame.py:4330, in get(self)\n   source\n",
        "File pandas/_libs/index.pyx:172, in pandas._libs.index.IndexEngine.get_loc()\n   source\n",
        "\x1b[31mKeyError\x1b[39m: 'nope'",
    ]
    assert trimmed_traceback(parts) == (
        "KeyError Traceback (most recent call last)\n"
        "Cell In[1], line 1\n----> 1 f(df)\n"
        "File /mnt/data/mine.py:3, in f(d)\n----> 3 d['nope']\n"
        "[1 more library frame]\n"
        "File pandas/_libs/index.pyx:172, in pandas._libs.index.IndexEngine.get_loc()\n"
        "KeyError: 'nope'"
    )


HEADER = "\x1b[31mKeyError\x1b[39m      Traceback (most recent call last)"
LIBRARY_FRAME = "File /usr/lib/python3/dist-packages/pandas/base.py:3823, in get(self)\n   source\n"
OWN_FRAME = "Cell In[1], line 1\n----> 1 df['nope']\n"
CHAINED = "\nThe above exception was the direct cause of the following exception:\n"


def test_an_exception_within_libraries_is_only_its_message() -> None:
    """What the user's code sees is the exception that came of it."""
    inner = [HEADER, LIBRARY_FRAME, LIBRARY_FRAME, "\x1b[31mKeyError\x1b[39m: 'inner'"]
    outer = [HEADER, OWN_FRAME, LIBRARY_FRAME, "KeyError: 'nope'"]
    assert trimmed_traceback([*inner, CHAINED, *outer]) == (
        "KeyError: 'inner'\n"
        "The above exception was the direct cause of the following exception:\n"
        "KeyError Traceback (most recent call last)\n"
        "Cell In[1], line 1\n----> 1 df['nope']\n"
        "File /usr/lib/python3/dist-packages/pandas/base.py:3823, in get(self)\n"
        "KeyError: 'nope'"
    )


def test_an_exception_that_the_user_caught_keeps_its_frames() -> None:
    """Raised again in the handler, both are the user's."""
    inner, outer = [HEADER, OWN_FRAME, "KeyError: 1"], [HEADER, OWN_FRAME, "ValueError: 2"]
    during = "\nDuring handling of the above exception, another exception occurred:\n"
    assert trimmed_traceback([*inner, during, *outer]).count("----> 1 df['nope']") == 2


@pytest.mark.parametrize(
    ("size", "expected"),
    [(0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (150_000, "150 kB"), (20_000_000, "20.0 MB"),
     (3_000_000_000, "3.0 GB")],
)  # fmt: skip
def test_sizes_are_for_people(size: int, expected: str) -> None:
    """Three figures at most."""
    assert size_text(size) == expected
