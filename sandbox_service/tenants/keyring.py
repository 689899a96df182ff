"""Whom a key belongs to: keys of the key file and keys of the environment, by their digests."""

import hmac
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass

from sandbox_service.domain.clock import SystemClock
from sandbox_service.domain.errors import Unauthenticated, Unavailable
from sandbox_service.domain.ports import Clock
from sandbox_service.domain.quota_rules import TenantLimits
from sandbox_service.domain.tenancy import Scope
from sandbox_service.tenants.key_file import KeyFile
from sandbox_service.tenants.records import (
    DEFAULT_SCOPES,
    KeyBook,
    KeyRecord,
    digest_of,
    id_of,
)


@dataclass(frozen=True, slots=True)
class Principal:
    """Whom a request speaks for. `artifact_id` is set when a signed link is all it has."""

    tenant: str
    scopes: frozenset[Scope] = frozenset(Scope)
    artifact_id: str | None = None
    key_id: str = ""


@dataclass(frozen=True, slots=True)
class _EnvironmentKey:
    digest: str
    principal: Principal


class Keyring:
    """All keys of the service. Keys of the environment have every scope but admin, and no expiry.

    `file` None means that there are keys of the environment only.
    """

    def __init__(
        self,
        pairs: Iterable[tuple[str, str]],
        file: KeyFile | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._pairs = [_environment_key(tenant, key) for tenant, key in pairs]
        self._file = file
        self._clock = clock or SystemClock()
        self._book = KeyBook()
        self._records: Mapping[str, KeyRecord] = {}

    def find(self, key: str) -> Principal | None:
        """Whom the key belongs to; None for an unknown one.

        Raises Unauthenticated for one that has expired or was revoked, Unavailable when the key
        file cannot be read: what is revoked and what is allowed is not known then.
        """
        records, key_id = self._refreshed(), id_of(key)
        record = None if key_id is None else records.get(key_id)
        if record is None or not record.belongs_to(key):
            return self._in_environment(key)
        self._require_valid(record)
        return Principal(record.tenant, record.scopes, key_id=record.id)

    def _in_environment(self, key: str) -> Principal | None:
        """Compares with every key, in constant time each, so that timing tells nothing."""
        digest, found = digest_of(key), None
        for entry in self._pairs:
            if hmac.compare_digest(entry.digest, digest):
                found = entry.principal
        return found

    def _require_valid(self, record: KeyRecord) -> None:
        if record.is_valid(self._clock.now()):
            return
        if record.revoked_at is not None:
            raise Unauthenticated("The API key was revoked.", code="key_revoked")
        raise Unauthenticated("The API key has expired.", code="key_expired")

    def _refreshed(self) -> Mapping[str, KeyRecord]:
        if self._file is not None:
            book = self._file.book()
            if book is not self._book:
                self._book, self._records = book, {record.id: record for record in book.keys}
        return self._records

    def has_valid_keys(self) -> bool:
        """Whether anybody could work with sessions now; a key that only watches the service does not count."""
        now = self._clock.now()
        return bool(self._pairs) or any(
            record.is_valid(now) and record.scopes - {Scope.ADMIN}
            for record in self._refreshed().values()
        )

    def limits_of(self, tenant: str) -> TenantLimits | None:
        """The tenant's limits of its own, as the key file says now; the last known while it cannot be read."""
        with suppress(Unavailable):
            self._refreshed()
        return self._book.quotas.get(tenant)

    def tenants(self) -> frozenset[str]:
        """Every tenant with a key, as of the latest key that was looked up."""
        of_file = {record.tenant for record in self._book.keys if record.revoked_at is None}
        return frozenset({entry.principal.tenant for entry in self._pairs} | of_file)


def _environment_key(tenant: str, key: str) -> _EnvironmentKey:
    digest = digest_of(key)
    return _EnvironmentKey(digest, Principal(tenant, DEFAULT_SCOPES, key_id=f"env_{digest[:12]}"))
