"""What this process knows of its own rights, so that one whose grant it never heard of is found again."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from sandbox_service.domain.stores import Lease


class Rights:
    """An answer that grants a right may get lost: the right is then held here, and nobody works with it."""

    def __init__(self) -> None:
        self._tokens: dict[str, int] = {}
        self._asking: Counter[str] = Counter()

    @contextmanager
    def asking(self, name: str) -> Iterator[None]:
        """A call that may grant `name` is under way: its answer is not lost yet."""
        self._asking[name] += 1
        try:
            yield
        finally:
            self._asking[name] -= 1
            if not self._asking[name]:
                del self._asking[name]

    def is_asked(self, name: str) -> bool:
        return name in self._asking

    def take(self, name: str, token: int) -> Lease | None:
        """The lease to hand out; None when it was handed out before."""
        if self._tokens.get(name, 0) >= token:
            return None
        self._tokens[name] = token
        return Lease(name, token)

    def drop(self, lease: Lease) -> None:
        """The lease is over, or whoever had it has no more use for it."""
        if self._tokens.get(lease.name) == lease.token:
            del self._tokens[lease.name]
