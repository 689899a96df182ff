"""What code printed as a terminal would leave it: plain functions on text, in linear time."""

import re
from collections.abc import Iterator

PIECE_CHARS = 64 * 1024

_ESCAPES = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"  # colours, cursor movement
    r"|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)"  # titles, links
    r"|\x1b[@-Z\\-_]"
)
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


def plain(text: str) -> str:
    """The text without escape sequences; of a line that was drawn over, its last state."""
    return "".join(map(_plain, _pieces(text)))


def _pieces(text: str) -> Iterator[str]:
    """Lines, many at a time: an interpreter that is busy with one text has no turn for anything else."""
    start = 0
    while end := text.find("\n", start + PIECE_CHARS) + 1:
        yield text[start:end]
        start = end
    yield text[start:]


def _plain(text: str) -> str:
    lines = _ESCAPES.sub("", text).replace("\r\n", "\n").split("\n")
    return _CONTROL.sub(
        "", "\n".join(_last_drawn(line) if "\r" in line else line for line in lines)
    )


def size_text(size: int) -> str:
    """Bytes for people: 512 B, 1.5 kB, 20 MB."""
    amount, units = float(size), ["B", "kB", "MB", "GB"]
    while amount >= 1000 and len(units) > 1:
        amount, units = amount / 1000, units[1:]
    is_whole = units[0] == "B" or amount >= 100
    return f"{amount:.0f} {units[0]}" if is_whole else f"{amount:.1f} {units[0]}"


def _last_drawn(line: str) -> str:
    """What stays of a line after its carriage returns: each piece covers the start of those before it.

    From the last piece to the first, so that every character is looked at once.
    """
    shown: list[str] = []
    covered = 0
    for piece in reversed(line.split("\r")):
        if len(piece) > covered:
            shown.append(piece[covered:])
            covered = len(piece)
    return "".join(shown)
