"""Who holds what right now, of one kind, in this process's memory. Pure but for its own count."""

import math
from collections import defaultdict
from collections.abc import Collection, Mapping

from sandbox_service.domain.quota_rules import RELEASED_KEPT_S

NOT_LATELY = -math.inf

_Holder = tuple[str, str]


class Holders:
    """Holders by tenant, each with the time of its claim, and what was released of late."""

    def __init__(self) -> None:
        self._claimed: defaultdict[str, dict[str, float]] = defaultdict(dict)
        self._released: dict[_Holder, float] = {}  # in the order of their times

    def count(self, tenant: str) -> int:
        return len(self._claimed.get(tenant, ()))

    def count_all(self) -> int:
        return sum(map(len, self._claimed.values()))

    def has(self, tenant: str, holder: str) -> bool:
        return holder in self._claimed.get(tenant, ())

    def add(self, tenant: str, holder: str, now_s: float) -> None:
        self._claimed[tenant][holder] = now_s
        self._released.pop((tenant, holder), None)

    def remove(self, tenant: str, holder: str, now_s: float) -> None:
        self._claimed[tenant].pop(holder, None)
        self._released.pop((tenant, holder), None)
        self._released[tenant, holder] = now_s
        self._forget_released(now_s - RELEASED_KEPT_S)

    def _forget_released(self, before_s: float) -> None:
        while self._released and next(iter(self._released.values())) < before_s:
            del self._released[next(iter(self._released))]

    def settle(self, actual: Mapping[str, Collection[str]], since_s: float) -> None:
        """Hold what is in `actual` or was claimed after `since_s`, but not what was released after it."""
        fresh = {
            tenant: {holder: at_s for holder, at_s in held.items() if at_s > since_s}
            for tenant, held in self._claimed.items()
        }
        self._claimed = defaultdict(dict, fresh)
        for tenant, names in actual.items():
            for name in names:
                if self._released.get((tenant, name), since_s) <= since_s:
                    self._claimed[tenant].setdefault(name, NOT_LATELY)
