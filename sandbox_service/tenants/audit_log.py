"""The whole audit log: the chains of all its writers, checked together and read in the order of time."""

import heapq
import json
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from sandbox_service.tenants.audit_chain import Head
from sandbox_service.tenants.audit_files import WRITER_PREFIX, Verdict, audit_files, verify


def chain_directories(root: Path) -> list[Path]:
    """The directories that hold a chain: the log's own, then the other writers' by number."""
    others = [path for path in root.glob(f"{WRITER_PREFIX}*") if _number_of(path)]
    return [path for path in (root, *sorted(others, key=_number_of)) if audit_files(path)]


def _number_of(path: Path) -> int:
    """0 for what is no writer's directory."""
    number = path.name.removeprefix(WRITER_PREFIX)
    return int(number) if number.isdecimal() else 0


@dataclass(frozen=True, slots=True)
class LogVerdict:
    """What verifying found: by the name of the chain's directory, and the noted heads in none of them."""

    chains: dict[str, Verdict]
    missing: tuple[Head, ...] = ()

    @property
    def holds(self) -> bool:
        return not self.missing and all(v.fault is None for v in self.chains.values())


def verify_log(root: Path, noted: Sequence[Head] = ()) -> LogVerdict:
    """Check every line of every chain, and that each noted head is still in one of them.

    A chain that was taken away as a whole shows by its noted head only.
    """
    chains = {path.name: verify(path, noted) for path in chain_directories(root)}
    seen = {head for verdict in chains.values() for head in verdict.seen}
    return LogVerdict(chains, tuple(head for head in noted if head not in seen))


def lines_by_time(root: Path, last: int | None = None) -> Iterator[bytes]:
    """The log's lines, whole or the `last` ones, by the time in them; as they are written."""
    chains = [_timed(_lines(path, last)) for path in chain_directories(root)]
    merged = heapq.merge(*chains, key=lambda timed: timed.at)
    lines = (timed.line for timed in merged)
    return lines if last is None else iter(deque(lines, maxlen=last))


@dataclass(frozen=True, slots=True)
class _Timed:
    at: str
    line: bytes


def _timed(lines: Iterator[bytes]) -> Iterator[_Timed]:
    """A line without a time of its own stays behind the one before."""
    at = ""
    for line in lines:
        at = max(at, _time_of(line))
        yield _Timed(at, line)


def _time_of(line: bytes) -> str:
    try:
        return str(json.loads(line).get("at", ""))
    except (ValueError, AttributeError):
        return ""


def _lines(directory: Path, last: int | None) -> Iterator[bytes]:
    """Whole lines, oldest first; for the last ones only as many files are read as they take."""
    files = audit_files(directory)
    if last is None:
        return (line for path in files for line in _lines_of(path))
    kept: deque[bytes] = deque()
    for path in reversed(files):
        kept.extendleft(reversed(deque(_lines_of(path), maxlen=last - len(kept))))
        if len(kept) >= last:
            break
    return iter(kept)


def _lines_of(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        for line in file:
            if line.endswith(b"\n"):
                yield line
