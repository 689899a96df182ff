"""Code is seen while the model writes it, however its arguments are cut."""

import json

import pytest

from runner.code_stream import CodePiece, CodeStreams
from runner.reply import ToolCall


def streamed(arguments: str, size: int) -> str:
    """What is seen of arguments that arrive in pieces of this size."""
    streams, call = CodeStreams(), ToolCall("a", "f")
    seen = ""
    for start in range(0, len(arguments), size):
        call.arguments += arguments[start : start + size]
        seen += "".join(piece.text for piece in streams.news([call]))
    return seen


CODES = [
    "print('hello')",
    'print("a\\n")\n\tx = "\\\\"',
    "print('é😀 \u2028')",
    "",
    'x = \'{"code": "y"}\'',
]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
@pytest.mark.parametrize("code", CODES)
def test_any_cutting_gives_the_same_code(code: str, size: int) -> None:
    """With escapes, pairs of escapes, and characters as they are."""
    assert streamed(json.dumps({"code": code}), size) == code
    assert streamed(json.dumps({"code": code}, ensure_ascii=False), size) == code


@pytest.mark.parametrize(
    ("arguments", "seen"),
    [
        ('{"code": "a\\ud83d b"}', "a� b"),
        ('{"code": "a\\uZZZZb"}', "a�b"),
        ('{"code": "a\\ude00b"}', "a�b"),
        ('{ "code" :\n"a"', "a"),
        ('{"code": "a\\', "a"),
        ("print(1)", ""),
        ('{"python": "a"}', ""),
    ],
)
def test_broken_arguments_show_what_can_be_read(arguments: str, seen: str) -> None:
    """Never more than was written, and no error."""
    assert streamed(arguments, 1) == seen


def test_pieces_name_their_call() -> None:
    """Calls of one reply may grow at the same time."""
    streams = CodeStreams()
    calls = [ToolCall("a", "f", '{"code": "x'), ToolCall("b", "f", '{"code": "y')]
    assert list(streams.news(calls)) == [CodePiece(0, "x"), CodePiece(1, "y")]
    calls[0].arguments += "1"
    assert list(streams.news(calls)) == [CodePiece(0, "1")]
