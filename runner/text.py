"""Terminal output as a reader would see it, made short: plain functions on text."""

import re
from collections.abc import Iterator, Sequence
from itertools import groupby

from runner.tokens import fitting_chars
from sandbox_service.client.text import plain

WIDEST_TOKEN = 32
"""Characters of a token at most: how far back the end of a text is looked at."""

_FRAME = re.compile(r"\s*(File |Cell )")
_OWN_FRAME = re.compile(r"\s*(Cell |File (\"?/mnt/data/|<))")
_HEADER = re.compile(r"(?<! ) {2,}(?=Traceback \(most recent call last\)\Z)")
_CHAINED = re.compile(
    r"\s*(The above exception was the direct cause of|During handling of the above exception,).*:\s*"
)
_RULE = re.compile(r"-{20,}\s*")


def head_and_tail(text: str, max_tokens: int) -> str:
    """The text, or its beginning and end around a line that says how much was left out.

    Two thirds of `max_tokens` go to the beginning; cuts fall on line ends where one is near.
    """
    if fitting_chars(text, max_tokens) == len(text):
        return text
    head = _head(text, fitting_chars(text, max_tokens * 2 / 3))
    rest = text[len(head) :]
    tail = _tail(rest, fitting_chars(rest[: -max_tokens * WIDEST_TOKEN - 1 : -1], max_tokens / 3))
    left_out = len(rest) - len(tail)
    return f"{head.rstrip()}\n[... {left_out:,} characters left out ...]\n{tail.lstrip(chr(10))}"


def first_and_last_lines(text: str, max_lines: int) -> str:
    """The text, or its first and last lines around one that says how many were left out."""
    lines = text.split("\n")
    if len(lines) <= max_lines:
        return text
    first = max_lines * 2 // 3
    last = max_lines - first
    middle = f"[... {len(lines) - max_lines:,} lines left out ...]"
    return "\n".join([*lines[:first], middle, *lines[-last:]])


def trimmed_traceback(parts: Sequence[str]) -> str:
    """A kernel's traceback with the user's own frames; of library frames only the last's name.

    Of an exception that was raised and caught within libraries only its message stays.
    """
    cleaned = [plain(part).strip("\n") for part in parts]
    kept = [_HEADER.sub(" ", part) for part in cleaned if part and not _RULE.fullmatch(part)]
    ends = [number for number, part in enumerate(kept) if _CHAINED.fullmatch(part)]
    starts = [0, *ends]
    sections = [kept[start:end] for start, end in zip(starts, [*ends, len(kept)], strict=True)]
    causes = [_shortened(section) for section in sections[:-1]]
    return "\n".join(block for section in [*causes, sections[-1]] for block in _blocks(section))


def _head(text: str, chars: int) -> str:
    end = text.rfind("\n", chars // 2, chars)
    return text[: end + 1 if end > 0 else chars]


def _tail(text: str, chars: int) -> str:
    start = len(text) - chars
    line_end = text.find("\n", start, start + chars // 2)
    return text[line_end + 1 if line_end > 0 else start :]


def _shortened(section: list[str]) -> list[str]:
    """A cause without a frame of the user's: the sentence that joins it, and its message."""
    if any(_OWN_FRAME.match(part) for part in section):
        return section
    return [part for part in section if _CHAINED.fullmatch(part) or part is section[-1]]


def _blocks(section: list[str]) -> Iterator[str]:
    for is_library, run in groupby(section, _is_library_frame):
        frames = list(run)
        yield from [_named(frames)] if is_library else frames


def _is_library_frame(part: str) -> bool:
    return bool(_FRAME.match(part)) and not _OWN_FRAME.match(part)


def _named(frames: list[str]) -> str:
    last = frames[-1].strip().partition("\n")[0]
    others = len(frames) - 1
    note = f"[{others} more library frame{'s' if others > 1 else ''}]\n" if others else ""
    return f"{note}{last}"
