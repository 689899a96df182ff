"""Versions with known holes, and how to tell whether one is older than its mend. Pure."""

import re
from dataclasses import dataclass

OLDEST_ENGINE = (20, 10)
OLDEST_RUNSC = 20240729
_NUMBERS = re.compile(r"(\d+)\.(\d+)(?:\.(\d+))?")
_RUNSC = re.compile(r"(?<!\d)(20\d{6})(?!\d)")


@dataclass(frozen=True, slots=True)
class Hole:
    """A known escape of runc: `mended` is the first good version of each line, oldest first."""

    names: str
    mended: tuple[tuple[int, int, int], ...]


RUNC_HOLES = (
    Hole("CVE-2024-21626", ((1, 1, 12),)),
    Hole("CVE-2025-31133, CVE-2025-52565, CVE-2025-52881", ((1, 2, 8), (1, 3, 3))),
)


def numbers(version: str) -> tuple[int, int, int] | None:
    """The numbers that a version starts with; None for what is no version."""
    found = _NUMBERS.search(version)
    return (int(found[1]), int(found[2]), int(found[3] or 0)) if found else None


def runc_holes(version: str) -> list[Hole]:
    """The holes that runc of this version has, by its number alone."""
    own = numbers(version)
    return [hole for hole in RUNC_HOLES if own is not None and not _is_mended(own, hole.mended)]


def _is_mended(own: tuple[int, int, int], mended: tuple[tuple[int, int, int], ...]) -> bool:
    same_line = [first for first in mended if first[:2] == own[:2]]
    return own >= (same_line[0] if same_line else mended[-1])


def is_of_a_distribution(version: str) -> bool:
    """Whether a distribution built it, which mends holes without raising the number."""
    return bool(re.search(r"ds\d|deb\d|ubuntu|\+|~", version))


def runsc_date(version: str) -> int | None:
    """The release date that a version of gVisor carries, as a number such as 20240729."""
    found = _RUNSC.search(version)
    return int(found[1]) if found else None
