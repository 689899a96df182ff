"""How many connections a process holds, most of them of callers whom it does not know yet."""

import logging
import resource
from dataclasses import dataclass
from typing import Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge

from sandbox_service.settings import Settings

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ConnectionBounds:
    """What a connection may cost before its caller is known, and how many there may be."""

    most: int = 4096
    head_bytes: int = 32 * 1024
    head_timeout_s: float = 15.0
    most_headers: int = 200
    most_pipelined: int = 16


def connection_bounds(settings: Settings) -> ConnectionBounds:
    """Those of the settings; half of this process's descriptors stay for everything else."""
    descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = min(settings.max_connections, descriptors // 2)
    return ConnectionBounds(most, settings.max_head_bytes, settings.head_timeout_s)


class Connection(Protocol):
    def give_way(self) -> None:
        """End, in favour of a new one."""
        ...


class Connections:
    """Counts them. When there are too many, the one that has waited longest for a request ends.

    A connection waits from its beginning, and from the end of each answer, until the head of its next
    request is there. A new one is refused when none waits.
    """

    def __init__(self, bounds: ConnectionBounds, registry: CollectorRegistry | None = None) -> None:
        self.bounds = bounds
        self._open: set[Connection] = set()
        self._waiting: dict[Connection, None] = {}  # the longest first
        self._refused = Counter(
            "sandbox_connections_refused",
            "Connections that the service ended, by reason.",
            ["reason"],
            registry=registry,
        )
        gauge = Gauge("sandbox_connections", "Open connections.", registry=registry)
        gauge.set_function(lambda: len(self._open))

    def admit(self, connection: Connection) -> bool:
        """False when there is no place for it."""
        if len(self._open) >= self.bounds.most:
            longest = next(iter(self._waiting), None)
            self.note("too_many_connections", None)
            if longest is None:
                return False
            self.leave(longest)
            longest.give_way()
        self._open.add(connection)
        return True

    def leave(self, connection: Connection) -> None:
        self._open.discard(connection)
        self._waiting.pop(connection, None)

    def waits(self, connection: Connection) -> None:
        """It has no request now."""
        if connection in self._open:
            self._waiting[connection] = None

    def works(self, connection: Connection) -> None:
        """The head of a request has come."""
        self._waiting.pop(connection, None)

    def note(self, reason: str, address: str | None) -> None:
        """Count and log that a connection was ended."""
        self._refused.labels(reason).inc()
        logger.warning("connection_refused reason=%s address=%s", reason, address)
