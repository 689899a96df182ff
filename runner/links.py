"""Links of a model to the workspace, made links that a person can open."""

import re
from collections.abc import Iterator, Mapping
from urllib.parse import quote

OPENING = "sandbox:/mnt/data/"
_GOES_ON = re.compile(r"[\w/%-]|\.\w")


def with_links(text: str, urls: Mapping[str, str]) -> str:
    """The text with each `sandbox:/mnt/data/<path>` replaced by the path's URL.

    Paths that are not known stay as they are.
    """
    links = LinkedText(urls)
    return links.feed(text) + links.end()


class LinkedText:
    """The same for text that arrives in pieces: what may become a link is held back until it is.

    `urls` may grow meanwhile. All that `feed` and `end` return, joined, is the whole text.
    """

    def __init__(self, urls: Mapping[str, str]) -> None:
        self._urls = urls
        self._held = ""

    def feed(self, piece: str) -> str:
        """What is settled now that `piece` has come."""
        self._held += piece
        return "".join(self._settled(is_end=False))

    def end(self) -> str:
        """The rest."""
        return "".join(self._settled(is_end=True))

    def _settled(self, *, is_end: bool) -> Iterator[str]:
        while (start := self._held.find(OPENING)) >= 0:
            yield self._take(start)
            rest = self._held[len(OPENING) :]
            if not is_end and self._may_go_on(rest):
                return
            path = self._longest(rest)
            yield self._urls[self._spelled()[path]] if path else OPENING
            self._take(len(OPENING) + len(path))
        yield self._take(len(self._held) - (0 if is_end else _begun_opening(self._held)))

    def _take(self, count: int) -> str:
        taken, self._held = self._held[:count], self._held[count:]
        return taken

    def _may_go_on(self, rest: str) -> bool:
        """Whether what comes next can change which path this is: a dot alone does not say yet."""
        return any(path.startswith(rest) or rest in (path, f"{path}.") for path in self._spelled())

    def _longest(self, rest: str) -> str:
        """The longest known path that `rest` begins with, as it is spelled there; or ""."""
        fitting = [
            path
            for path in self._spelled()
            if rest.startswith(path) and not _GOES_ON.match(rest, len(path))
        ]
        return max(fitting, key=len, default="")

    def _spelled(self) -> dict[str, str]:
        """Every way in which a model may write a path, to the path."""
        return {way: path for path in self._urls for way in (quote(path), path)}


def _begun_opening(text: str) -> int:
    """How many characters at the end may be the beginning of a link."""
    longest = min(len(OPENING) - 1, len(text))
    return next((n for n in range(longest, 0, -1) if text.endswith(OPENING[:n])), 0)
