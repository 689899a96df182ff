"""Notices when the wall clock jumps: expiry is kept in its terms, and must not end what nobody left alone."""

from sandbox_service.domain.ports import Clock

SMALLEST_JUMP_S = 30.0


class ClockWatch:
    """Compares the wall clock with the one that never jumps, from one look to the next."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._offset_s = self._offset()

    def jump_s(self) -> float:
        """How far the wall clock has jumped since the last look; 0 for what a correction does."""
        offset_s = self._offset()
        jump_s, self._offset_s = offset_s - self._offset_s, offset_s
        return jump_s if abs(jump_s) >= SMALLEST_JUMP_S else 0.0

    def _offset(self) -> float:
        return self._clock.now().timestamp() - self._clock.monotonic()
