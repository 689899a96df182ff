"""What code printed, made plain and short: functions on text."""

import re
from collections.abc import Iterable, Sequence

from sandbox_service.client.text import plain

_OWN_FRAME = re.compile(r"\s*(Cell |File (\"?/mnt/data/|<))")
_FRAME = re.compile(r"\s*(File |Cell )")
_RULE = re.compile(r"-{20,}\s*")


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
