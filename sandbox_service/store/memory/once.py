"""Requests that take effect once, in this process's memory."""

from collections.abc import Mapping
from dataclasses import replace

from sandbox_service.domain.ids import new_id
from sandbox_service.domain.ports import Clock
from sandbox_service.domain.stores import OnceEntry
from sandbox_service.store.memory.kept_keys import GONE, KeptKey
from sandbox_service.store.memory.tables import Tables


class MemoryOnceStore:
    """Keys are forgotten when their time is over; a tenant with too many loses the oldest."""

    def __init__(self, tables: Tables, clock: Clock) -> None:
        self._tables = tables
        self._keys = tables.once
        self._clock = clock

    async def begin(
        self, tenant: str, key: str, fingerprint: str, ids: Mapping[str, str]
    ) -> OnceEntry:
        self._forget_old(tenant)
        kept = self._keys.get(tenant, key)
        if kept is None:
            entry = OnceEntry(fingerprint, dict(ids), mark=new_id("once"))
            kept = KeptKey(entry, self._clock.now().timestamp())
            self._note(tenant, key, kept)
            self._forget_surplus(tenant)
        elif kept.entry.fingerprint == fingerprint and not kept.is_shared:
            self._keys.put(tenant, key, replace(kept, is_shared=True).packed())
        return kept.entry

    async def done(self, tenant: str, key: str, content: str = "") -> None:
        kept = self._keys.get(tenant, key)
        if kept is not None and not kept.entry.is_done:
            kept.entry = replace(kept.entry, is_done=True, content=content)
            self._note(tenant, key, kept)

    async def give_back(self, tenant: str, key: str, entry: OnceEntry) -> None:
        kept = self._keys.get(tenant, key)
        if kept is not None and kept.entry.mark == entry.mark and not kept.is_shared:
            self._note(tenant, key, None)

    def _note(self, tenant: str, key: str, kept: KeptKey | None) -> None:
        self._tables.put_once(tenant, key, GONE if kept is None else kept.packed())

    def _forget_surplus(self, tenant: str) -> None:
        while self._keys.count(tenant) > self._tables.bounds.once_keys:
            self._note(tenant, self._keys.oldest(tenant), None)

    def _forget_old(self, tenant: str) -> None:
        """This tenant's, and each time those of another one, which may not ask again."""
        self._forget_old_of(tenant)
        if self._keys.tenants:
            other = next(iter(self._keys.tenants))
            self._keys.tenants.move_to_end(other)
            self._forget_old_of(other)

    def _forget_old_of(self, tenant: str) -> None:
        horizon = self._clock.now().timestamp() - self._tables.bounds.once_retention_s
        while self._keys.count(tenant):
            key = self._keys.oldest(tenant)
            kept = self._keys.get(tenant, key)
            if kept is not None and kept.began_at_s > horizon:
                return
            self._note(tenant, key, None)
