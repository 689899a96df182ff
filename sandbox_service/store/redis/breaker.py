"""After a failure nobody asks for a while; then one asks, and the others wait for what it gets."""

import logging

from sandbox_service.domain.ports import Clock
from sandbox_service.store.redis.failures import away

logger = logging.getLogger(__name__)

QUIET_S = 0.5


class Breaker:
    """Closed while calls succeed. Open, it refuses all calls at once, but for one probe each QUIET_S."""

    def __init__(self, clock: Clock, longest_probe_s: float) -> None:
        self._clock = clock
        self._longest_probe_s = longest_probe_s
        self._refuse_until: float | None = None

    def check(self) -> None:
        """Raises StoreUnavailable when a call now would be refused."""
        if self._refuse_until is not None and self._clock.monotonic() < self._refuse_until:
            raise away()

    def enter(self) -> None:
        """Begin a call; if the breaker is open, as the probe. Raises StoreUnavailable."""
        self.check()
        if self._refuse_until is not None:
            self._refuse_until = self._clock.monotonic() + self._longest_probe_s

    def leave(self) -> None:
        """The call was given up by its caller: it says nothing, and if it was the probe, another may be."""
        if self._refuse_until is not None:
            self._refuse_until = min(self._refuse_until, self._clock.monotonic() + QUIET_S)

    def open(self, error: Exception) -> None:
        """A call failed."""
        if self._refuse_until is None:
            logger.warning("store_lost error=%s", type(error).__name__)
        self._refuse_until = self._clock.monotonic() + QUIET_S

    def close(self) -> None:
        """A call was answered."""
        if self._refuse_until is not None:
            logger.info("store_found")
        self._refuse_until = None
