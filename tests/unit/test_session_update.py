"""A change of a session that ends at the same moment."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from sandbox_service.domain.errors import SessionGone
from sandbox_service.domain.requests import UpdateSession
from sandbox_service.domain.stores import SessionStore
from sandbox_service.domain.values import SessionRecord, SessionStatus
from sandbox_service.store.bounds import StoreBounds
from sandbox_service.store.memory import open_memory_stores
from tests.support.fakes import InstantBackend
from tests.unit.fakes.replica import TENANT, replica_on


class EndsAfterALook:
    """Sessions that expire right after they were read, once `is_armed`."""

    def __init__(self, store: SessionStore) -> None:
        self._store = store
        self.is_armed = False

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)

    async def get(self, session_id: str) -> SessionRecord | None:
        record = await self._store.get(session_id)
        if self.is_armed and record is not None:
            self.is_armed = False
            ended = {"status": SessionStatus.EXPIRED, "ended_at": datetime.now(UTC)}
            await self._store.replace(record.model_copy(update=ended))
        return record


async def test_a_session_that_expired_under_a_change_is_gone_and_stays_as_it_was() -> None:
    """Seen when activity raced with expiry: PATCH answered 200 with an expired session."""
    with open_memory_stores(StoreBounds()) as stores:
        ending = EndsAfterALook(stores.sessions)
        async with replica_on(replace(stores, sessions=ending), InstantBackend()) as replica:
            session = await replica.open()
            ending.is_armed = True
            with pytest.raises(SessionGone):
                await replica.sessions.update(TENANT, session.id, UpdateSession(idle_ttl_s=90))
            after = await replica.sessions.get(TENANT, session.id)
            assert (after.status, after.idle_ttl_s) == (SessionStatus.EXPIRED, 60)
