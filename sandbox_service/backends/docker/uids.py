"""User ids for sandboxes: one per live sandbox, so that limits that count per user are its own."""

import secrets

LOWEST = 1_000_000
HIGHEST = 2_000_000_000


class UserIds:
    """The user ids in use. An id is free again when its sandbox is confirmed gone."""

    def __init__(self) -> None:
        self._in_use: dict[str, int] = {}

    @property
    def in_use(self) -> frozenset[int]:
        return frozenset(self._in_use.values())

    def take(self, sandbox_id: str) -> int:
        """A random id that no other live sandbox has."""
        while (uid := LOWEST + secrets.randbelow(HIGHEST - LOWEST)) in self._in_use.values():
            pass
        self._in_use[sandbox_id] = uid
        return uid

    def keep(self, sandbox_id: str, uid: int | None) -> None:
        """Note an id that is in use by a sandbox found on the engine."""
        if uid is not None:
            self._in_use[sandbox_id] = uid

    def free(self, sandbox_id: str) -> None:
        self._in_use.pop(sandbox_id, None)
