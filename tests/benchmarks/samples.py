"""Measured values: kept raw, reduced to percentiles only to be shown."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


class WrongAnswer(Exception):
    """What came back is not what the figure is about; the sample counts as failed."""


@dataclass
class Series:
    """The samples of one figure, in its own unit; those that failed are counted with their reason."""

    samples: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def percentile(self, percent: float) -> float:
        """Linear between the two nearest samples."""
        ordered = sorted(self.samples)
        place = (len(ordered) - 1) * percent / 100
        low = int(place)
        high = min(low + 1, len(ordered) - 1)
        return ordered[low] + (ordered[high] - ordered[low]) * (place - low)

    @property
    def p50(self) -> float:
        return self.percentile(50)


class Results:
    """Every figure's series, by the figure's name."""

    def __init__(self, series: dict[str, Series] | None = None, suffix: str = "") -> None:
        self.series = {} if series is None else series
        self._suffix = suffix

    def __getitem__(self, figure: str) -> Series:
        return self.series.setdefault(figure + self._suffix, Series())

    def named_with(self, suffix: str) -> "Results":
        """The same results; what is measured through this view has names that end in `suffix`."""
        return Results(self.series, suffix)

    @property
    def has_failures(self) -> bool:
        return any(series.failures for series in self.series.values())

    def has(self, figure: str) -> bool:
        return figure in self.series and bool(self.series[figure].samples)

    @contextmanager
    def failures_of(self, *figures: str) -> Iterator[None]:
        """Counts a wrong or missing answer as a failed sample of these figures."""
        try:
            yield
        except (WrongAnswer, OSError, EOFError, TimeoutError) as error:
            for figure in figures:
                self[figure].failures.append(f"{type(error).__name__}: {error}"[:200])


def require(is_right: bool, what: str) -> None:
    """Raises WrongAnswer."""
    if not is_right:
        raise WrongAnswer(what)
