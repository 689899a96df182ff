"""Where the outputs of one execution stand: a list that grows, and its end, which waits when there are very many.

The first three quarters of all places are filled as outputs come. Later ones wait for the end of the
execution in the last quarter; when that is full the oldest gives way, text before all else.
"""

import io
from collections import deque
from dataclasses import dataclass, field

from sandbox_service.domain.values import Output


@dataclass(slots=True, eq=False)
class Place:
    """One output and its size in bytes. A stream's text is joined only when somebody asks.

    `index` is that in the list of outputs; None while it waits, and when it `is_gone`.
    """

    output: Output
    size: int
    text: io.StringIO | None = None
    index: int | None = None
    is_gone: bool = field(default=False)

    @classmethod
    def of_stream(cls, name: str, text: str, size: int) -> "Place":
        place = cls({"output_type": "stream", "name": name}, size, io.StringIO())
        assert place.text is not None
        place.text.write(text)
        return place

    def node(self) -> Output:
        return self.output if self.text is None else {**self.output, "text": self.text.getvalue()}

    def takes(self, name: str) -> bool:
        return self.text is not None and self.output["name"] == name


class Places:
    """The outputs in their order. `lost` counts those that gave way."""

    def __init__(self, most: int) -> None:
        self._most_waiting = most // 4
        self._most_listed = most - self._most_waiting
        self._crowded = most // 2
        self._listed: list[Place] = []
        self._waiting: deque[Place] = deque()
        self.lost = 0

    def __len__(self) -> int:
        return len(self._listed) + len(self._waiting) + self.lost

    def nodes(self) -> list[Output]:
        return [place.node() for place in self._listed]

    def open_stream(self, name: str) -> Place | None:
        """The place that text of this stream belongs to; in a crowd the streams are kept apart less finely."""
        latest = self._waiting or self._listed
        if latest and latest[-1].takes(name):
            return latest[-1]
        is_crowd = bool(self._waiting) or len(self._listed) >= self._crowded
        if is_crowd and len(latest) > 1 and latest[-1].text is not None and latest[-2].takes(name):
            return latest[-2]
        return None

    def add(self, place: Place) -> Place | None:
        """Give the output a place; returns the one that gave way for it, if any."""
        if not self._waiting and not self.lost and len(self._listed) < self._most_listed:
            self._list(place)
            return None
        self._waiting.append(place)
        return self._let_go() if len(self._waiting) > self._most_waiting else None

    def list_waiting(self) -> list[Place]:
        """The end has come: list what has waited, behind a mark for what gave way."""
        if self.lost:
            mark = f"\n[{self.lost} outputs were left out here]\n"
            self._waiting.appendleft(Place.of_stream("stderr", mark, 0))
        listed, self._waiting, self.lost = list(self._waiting), deque(), 0
        for place in listed:
            self._list(place)
        return listed

    def clear(self) -> None:
        self._listed.clear()
        self._waiting.clear()
        self.lost = 0

    def _list(self, place: Place) -> None:
        place.index = len(self._listed)
        self._listed.append(place)

    def _let_go(self) -> Place:
        gone = next((place for place in self._waiting if place.text is not None), self._waiting[0])
        self._waiting.remove(gone)
        gone.is_gone = True
        self.lost += 1
        return gone
