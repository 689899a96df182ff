"""A token bucket: so many requests per second, with a burst. Pure but for its own count."""


class TokenBucket:
    """Fills at `rate` tokens per second up to `burst`."""

    def __init__(self, rate: float, burst: float, now_s: float) -> None:
        self.rate = rate
        self._burst = burst
        self._tokens = burst
        self._filled_at_s = now_s

    def take(self, now_s: float) -> float:
        """Take one token; returns 0, or the seconds until there is one to take."""
        elapsed_s = max(0.0, now_s - self._filled_at_s)
        self._tokens = min(self._burst, self._tokens + elapsed_s * self.rate)
        self._filled_at_s = now_s
        if self._tokens < 1:
            return (1 - self._tokens) / self.rate
        self._tokens -= 1
        return 0.0
