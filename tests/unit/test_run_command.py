"""What a script prints, as a file gets it and as a terminal gets it."""

import io
from typing import Any

import pytest

from sandbox_service.client import OutputChanged
from sandbox_service.commands.script_output import ScriptOutput, for_reader


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\tb\r\n", "a\tb\r\n"),
        ("\x1b[31mred\x1b[0m", "\x1b[31mred\x1b[0m"),
        ("\x1b]0;title\x07a", "a"),
        ("\x1b]8;;http://x\x1b\\a", "a"),
        ("\x1b[2Ja\x1b[1;1Hb", "ab"),
        ("\x1bPq#0\x1b\\a", "a"),
        ("\x9b31ma\x07", "31ma"),
        ("a\x1b", "a"),
        ("10%\r20%\b\b\b", "10%\r20%\b\b\b"),
    ],
)
def test_a_terminal_gets_colours_and_nothing_else_that_steers_it(text: str, shown: str) -> None:
    """The script is not trusted; a file gets every byte."""
    assert for_reader(text, is_terminal=True) == shown
    assert for_reader(text, is_terminal=False) == text


def shown(*changes: tuple[str, dict[str, Any]]) -> tuple[str, str]:
    out, err = io.StringIO(), io.StringIO()
    output = ScriptOutput(out, err)
    for action, node in changes:
        output.show(OutputChanged(1, action, 0, node))  # type: ignore[arg-type]
    return out.getvalue(), err.getvalue()


def stream(name: str, text: str) -> dict[str, Any]:
    return {"output_type": "stream", "name": name, "text": text}


def error(name: str, value: str) -> dict[str, Any]:
    return {
        "output_type": "error",
        "ename": name,
        "evalue": value,
        "traceback": ["\x1b[31mT\x1b[0m", "E"],
    }


def shows(data: dict[str, Any]) -> dict[str, Any]:
    return {"output_type": "display_data", "data": data}


ADVICE = "UserWarning: To exit: use 'exit', 'quit', or Ctrl-D."


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ([("append", stream("stdout", "a")), ("extend", stream("stdout", "b"))], ("ab", "")),
        ([("append", stream("stderr", "a"))], ("", "a")),
        ([("append", error("ValueError", "v"))], ("", "T\nE\n")),
        ([("append", error("SystemExit", "3")), ("append", stream("stderr", ADVICE))], ("", "")),
        ([("append", stream("stderr", ADVICE))], ("", ADVICE)),
        ([("append", error("SystemExit", "bad"))], ("", "bad\n")),
        ([("append", {"output_type": "execute_result", "data": {"text/plain": "2"}})], ("", "")),
        ([("append", shows({"text/plain": "a table"}))], ("a table\n", "")),
        ([("append", shows({"text/plain": "<Figure>", "image/png": "AA"}))], ("", "")),
        ([("replace", stream("stdout", "a")), ("clear", {})], ("", "")),
    ],
)
def test_outputs_go_to_the_stream_that_they_belong_to(
    changes: list[tuple[str, dict[str, Any]]], expected: tuple[str, str]
) -> None:
    """A script prints what it prints: no value of its last line, no name of a figure."""
    assert shown(*changes) == expected
