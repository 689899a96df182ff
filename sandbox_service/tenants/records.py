"""What is kept of an API key, and how a fresh one is made. Pure but for the random bytes."""

import hashlib
import hmac
import secrets
from collections.abc import Iterable
from datetime import datetime

from pydantic import Field

from sandbox_service.domain.ids import looks_like, new_id
from sandbox_service.domain.quota_rules import TenantLimits
from sandbox_service.domain.tenancy import Scope
from sandbox_service.domain.values import Value

MARK = "sbx"
SECRET_BYTES = 32
_ID_PREFIX = "key"
DEFAULT_SCOPES = frozenset({Scope.EXECUTE, Scope.FILES, Scope.READ})


class KeyRecord(Value):
    """An API key without the key: `sha256` is the digest of all of it."""

    id: str
    tenant: str = Field(min_length=1, max_length=128)
    name: str = Field(default="", max_length=128)
    scopes: frozenset[Scope] = DEFAULT_SCOPES
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$", repr=False)
    created_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None

    def belongs_to(self, key: str) -> bool:
        """Whether `key` is this one, compared in constant time."""
        return hmac.compare_digest(self.sha256, digest_of(key))

    def is_valid(self, now: datetime) -> bool:
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)


class KeyBook(Value):
    """All that the key file holds. `quotas` are what a tenant has other than the service's defaults."""

    version: int = Field(default=1, ge=1, le=1)
    keys: tuple[KeyRecord, ...] = ()
    quotas: dict[str, TenantLimits] = Field(default_factory=dict)


class FreshKey(Value):
    """A key that was just made: the only time that it is seen whole."""

    record: KeyRecord
    key: str = Field(repr=False)


def make_key(
    tenant: str,
    now: datetime,
    *,
    name: str = "",
    scopes: Iterable[Scope] = DEFAULT_SCOPES,
    expires_at: datetime | None = None,
) -> FreshKey:
    """A fresh key of 256 random bits that carries its own id: `sbx_<id>_<secret>`."""
    key_id = new_id(_ID_PREFIX)
    key = f"{MARK}_{key_id.removeprefix(_ID_PREFIX + '_')}_{secrets.token_urlsafe(SECRET_BYTES)}"
    record = KeyRecord(
        id=key_id,
        tenant=tenant,
        name=name,
        scopes=frozenset(scopes),
        sha256=digest_of(key),
        created_at=now,
        expires_at=expires_at,
    )
    return FreshKey(record=record, key=key)


def id_of(key: str) -> str | None:
    """The id that a key carries; None for what `make_key` cannot have made."""
    mark, _, rest = key.partition("_")
    key_id = f"{_ID_PREFIX}_{rest.partition('_')[0]}"
    return key_id if mark == MARK and looks_like(_ID_PREFIX, key_id) else None


def digest_of(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()
