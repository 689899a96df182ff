"""What code printed, made plain and short: functions on text."""

import re
from collections.abc import Iterable, Sequence

_ESCAPES = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"  # colours, cursor movement
    r"|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)"  # titles, links
    r"|\x1b[@-Z\\-_]"
)
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_OWN_FRAME = re.compile(r"\s*(Cell |File (\"?/mnt/data/|<))")
_FRAME = re.compile(r"\s*(File |Cell )")
_RULE = re.compile(r"-{20,}\s*")


def plain(text: str) -> str:
    """The text without escape sequences; of a line that was drawn over, its last state."""
    lines = _ESCAPES.sub("", text).replace("\r\n", "\n").split("\n")
    return _CONTROL.sub("", "\n".join(map(_last_drawn, lines)))


def short(text: str, most: int) -> str:
    """The text, or its first two thirds and its end around a line that says how much is left out."""
    if len(text) <= most:
        return text
    head, tail = text[: most * 2 // 3], text[len(text) - most // 3 :]
    # Cuts fall on line ends where one is near.
    head = head[: head.rfind("\n", len(head) // 2) + 1] or head
    tail = tail[tail.find("\n", 0, len(tail) // 2) + 1 :]
    left_out = len(text) - len(head) - len(tail)
    return f"{head.rstrip()}\n[... {left_out:,} characters left out ...]\n{tail}"


def short_traceback(parts: Sequence[str]) -> str:
    """A kernel's traceback with the frames of the user's code; a library's frames are one line."""
    kept: list[str] = []
    for part in (plain(part).strip("\n") for part in parts):
        if not part or _RULE.fullmatch(part):
            continue
        is_library = _FRAME.match(part) and not _OWN_FRAME.match(part)
        line = f"[{part.strip().partition(chr(10))[0]}]" if is_library else part
        if kept and is_library and kept[-1].startswith("[File "):
            kept.pop()
        kept.append(line)
    return "\n".join(kept)


def paragraphs(parts: Iterable[str]) -> str:
    """The parts that hold anything, each on lines of its own."""
    return "\n".join(part.rstrip("\n") for part in parts if part.strip())


def size_text(size: int) -> str:
    """Bytes for people: 512 B, 1.5 kB, 20 MB."""
    amount, units = float(size), ["B", "kB", "MB", "GB"]
    while amount >= 1000 and len(units) > 1:
        amount, units = amount / 1000, units[1:]
    is_whole = units[0] == "B" or amount >= 100
    return f"{amount:.0f} {units[0]}" if is_whole else f"{amount:.1f} {units[0]}"


def _last_drawn(line: str) -> str:
    """What stays on a terminal line after its carriage returns: later text over earlier."""
    shown = ""
    for piece in line.split("\r"):
        shown = piece + shown[len(piece) :]
    return shown
