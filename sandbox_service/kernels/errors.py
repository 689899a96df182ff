"""Error nodes: always passed on, never larger than their cap."""

from collections.abc import Iterable, Mapping
from typing import Any

from sandbox_service.domain.json_values import clean_text
from sandbox_service.domain.values import Output
from sandbox_service.kernels.bundles import cut_text, text_of

MAX_ERROR_BYTES = 64 * 1024
_NAME_BYTES = 1024
_VALUE_BYTES = 15 * 1024
_TRACEBACK_BYTES = 24 * 1024


def error_node(content: Mapping[str, Any]) -> tuple[Output, bool]:
    """An nbformat error node of at most MAX_ERROR_BYTES, and whether it was cut.

    A long traceback keeps its first and its last lines: where the cell was, and what went wrong.
    """
    name, value = text_of(content.get("ename")) or "Error", text_of(content.get("evalue")) or ""
    traceback = _lines(content.get("traceback"))
    node: Output = {
        "output_type": "error",
        "ename": cut_text(name, _NAME_BYTES),
        "evalue": cut_text(value, _VALUE_BYTES),
        "traceback": _shortened(traceback),
    }
    is_cut = [node["ename"], node["evalue"], node["traceback"]] != [name, value, traceback]
    return node, is_cut


def error_size(node: Output) -> int:
    """Bytes of text in an error node."""
    texts = [node["ename"], node["evalue"], *node["traceback"]]
    return sum(len(text.encode()) for text in texts)


def _lines(traceback: object) -> list[str]:
    if isinstance(traceback, str):
        return [clean_text(traceback)]
    if not isinstance(traceback, list):
        return []
    return [clean_text(line) for line in traceback if isinstance(line, str)]


def _shortened(lines: list[str]) -> list[str]:
    head = _taken(lines, _TRACEBACK_BYTES)
    if head == lines:
        return head
    rest = lines[len(head) :]
    return head + _taken(reversed(rest), _TRACEBACK_BYTES)[::-1]


def _taken(lines: Iterable[str], room: int) -> list[str]:
    """Lines until `room` is used up, the last one cut; an empty line counts as one byte."""
    taken: list[str] = []
    for line in lines:
        if room <= 0:
            break
        cut = cut_text(line, room)
        taken.append(cut)
        room -= max(1, len(cut.encode())) if cut == line else room
    return taken
