"""Requests by their idempotency key, packed, because there may be many of them in memory."""

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field

import orjson

from sandbox_service.domain.stores import OnceEntry
from sandbox_service.store.memory.log import Noted

GONE = b"null"


@dataclass(slots=True)
class KeptKey:
    entry: OnceEntry
    began_at_s: float
    is_shared: bool = False

    def packed(self) -> bytes:
        """As it is kept and noted in the log."""
        entry = self.entry
        return orjson.dumps(
            [
                entry.fingerprint,
                dict(entry.ids),
                entry.is_done,
                entry.content,
                entry.mark,
                self.began_at_s,
                self.is_shared,
            ]
        )


def unpacked(raw: bytes) -> KeptKey:
    """Raises ValueError, TypeError."""
    *entry, began_at_s, is_shared = orjson.loads(raw)
    return KeptKey(OnceEntry(*entry), float(began_at_s), bool(is_shared))


@dataclass(slots=True)
class KeptKeys:
    """By tenant, each tenant's oldest first."""

    tenants: OrderedDict[str, OrderedDict[str, bytes]] = field(default_factory=OrderedDict)

    def get(self, tenant: str, key: str) -> KeptKey | None:
        keys = self.tenants.get(tenant)
        raw = None if keys is None else keys.get(key)
        return None if raw is None else unpacked(raw)

    def put(self, tenant: str, key: str, raw: bytes) -> None:
        """What is put for the first time is the tenant's youngest."""
        if raw == GONE:
            self.drop(tenant, key)
        else:
            exact = bytes(memoryview(raw))  # what an encoder gives may take 4 kB of memory
            self.tenants.setdefault(tenant, OrderedDict())[key] = exact

    def drop(self, tenant: str, key: str) -> None:
        keys = self.tenants.get(tenant)
        if keys is not None:
            keys.pop(key, None)
            if not keys:
                del self.tenants[tenant]

    def oldest(self, tenant: str) -> str:
        return next(iter(self.tenants[tenant]))

    def count(self, tenant: str) -> int:
        return len(self.tenants.get(tenant, ()))

    def entries(self) -> Iterator[Noted]:
        for tenant, keys in self.tenants.items():
            for key, raw in keys.items():
                yield noted(tenant, key, raw)


def noted(tenant: str, key: str, raw: bytes) -> Noted:
    return "once", f"{tenant}\n{key}", raw
