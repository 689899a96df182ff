"""Markdown that is shown while it is written: finished blocks, and the rest. Pure."""

import re

_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")


class MarkdownBlocks:
    """Takes text as it comes; a block is finished by the empty line after it, or by its fence."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._line = ""
        self._fence = ""

    @property
    def rest(self) -> str:
        """What belongs to no finished block yet."""
        return "\n".join([*self._lines, self._line])

    def feed(self, text: str) -> list[str]:
        """The blocks that `text` finishes."""
        *lines, self._line = (self._line + text).split("\n")
        return [block for line in lines if (block := self._add(line))]

    def end(self) -> str:
        """The rest, as a last block."""
        rest = self.rest
        self._lines, self._line, self._fence = [], "", ""
        return rest if rest.strip() else ""

    def _add(self, line: str) -> str:
        """The block that this line finishes, or nothing."""
        was_fenced = bool(self._fence)
        self._follow_fence(line)
        if line.strip() or self._fence:
            self._lines.append(line)
        is_over = not self._fence and (was_fenced or not line.strip())
        if not is_over or not self._lines:
            return ""
        block, self._lines = "\n".join(self._lines), []
        return block

    def _follow_fence(self, line: str) -> None:
        mark = _FENCE.match(line)
        if mark is None:
            return
        if not self._fence:
            self._fence = mark[1]
        elif mark[1].startswith(self._fence) and line.strip() == mark[1]:
            self._fence = ""
