"""User ids for sandboxes: one per live sandbox, so that limits that count per user are its own."""

import secrets
from collections.abc import Mapping

LOWEST = 1_000_000
HIGHEST = 2_000_000_000


class UserIds:
    """The user ids in use, as far as is known here. An id is free again when its sandbox is gone."""

    def __init__(self) -> None:
        self._in_use: dict[str, int] = {}
        self._seen: frozenset[str] = frozenset()

    @property
    def in_use(self) -> frozenset[int]:
        return frozenset(self._in_use.values())

    def take(self, sandbox_id: str) -> int:
        """A random id that no other live sandbox has."""
        while (uid := LOWEST + secrets.randbelow(HIGHEST - LOWEST)) in self._in_use.values():
            pass
        self._in_use[sandbox_id] = uid
        return uid

    def note_found(self, found: Mapping[str, int]) -> None:
        """Note what the engine has now; what it had before and has no more was stopped, maybe elsewhere."""
        for sandbox_id in self._seen - found.keys():
            self.free(sandbox_id)
        self._in_use.update(found)
        self._seen = frozenset(found)

    def free(self, sandbox_id: str) -> None:
        self._in_use.pop(sandbox_id, None)
