"""Who calls, and may they: every route and carrier of a right goes through `Gate.authorise`."""

import hashlib
import hmac
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from starlette.requests import Request

from sandbox_service.domain.errors import PermissionDenied, ServiceError, Unauthenticated


class Scope(StrEnum):
    """What a key may be used for."""

    EXECUTE = "execute"
    FILES = "files"
    READ = "read"
    ADMIN = "admin"


class Carrier(StrEnum):
    """What a right may come from."""

    ANYONE = "anyone"
    KEY = "key"
    LINK = "link"
    LOOPBACK = "loopback"


ALL_SCOPES = frozenset(Scope)


@dataclass(frozen=True, slots=True)
class Principal:
    """Whom a request speaks for. `artifact_id` is set when a signed link is all it has."""

    tenant: str
    scopes: frozenset[Scope] = ALL_SCOPES
    artifact_id: str | None = None


ANYONE = Principal(tenant="", scopes=frozenset())


@dataclass(frozen=True, slots=True)
class Rule:
    """What a route asks of its caller."""

    scope: Scope | None
    carriers: frozenset[Carrier] = frozenset({Carrier.KEY})


class Keys(Protocol):
    def find(self, key: str) -> Principal | None:
        """Whom a key belongs to, if it is a valid one."""
        ...


class LinkVerifier(Protocol):
    def verify(self, artifact_id: str, expires: str, signature: str) -> None: ...


class Keyring:
    """API keys, kept as SHA-256 digests only."""

    def __init__(self, pairs: Iterable[tuple[str, str]]) -> None:
        self._entries = [(_digest(key), Principal(tenant)) for tenant, key in pairs]

    def find(self, key: str) -> Principal | None:
        """Compares with every key, in constant time each, so that timing tells nothing."""
        digest = _digest(key)
        found = None
        for known, principal in self._entries:
            if hmac.compare_digest(known, digest):
                found = principal
        return found


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()


class Gate:
    """Decides who may pass."""

    def __init__(self, keys: Keys, links: LinkVerifier) -> None:
        self._keys = keys
        self._links = links

    def authorise(self, rule: Rule, request: Request) -> Principal:
        """The caller, if the rule lets it in. Raises Unauthenticated or PermissionDenied."""
        if Carrier.ANYONE in rule.carriers:
            return ANYONE
        if Carrier.LOOPBACK in rule.carriers and _is_loopback(request):
            return ANYONE
        if Carrier.LINK in rule.carriers and "signature" in request.query_params:
            return self._by_link(rule, request)
        return self._by_key(rule, request)

    def _by_key(self, rule: Rule, request: Request) -> Principal:
        principal = self._keys.find(_bearer(request))
        if principal is None:
            raise Unauthenticated("The API key is not valid.")
        if rule.scope is not None and rule.scope not in principal.scopes:
            raise PermissionDenied(f"This key does not have the scope {rule.scope.value!r}.")
        return principal

    def _by_link(self, rule: Rule, request: Request) -> Principal:
        """A link that does not hold is no obstacle to a key that does."""
        artifact_id = request.path_params["artifact_id"]
        query = request.query_params
        try:
            self._links.verify(artifact_id, query.get("expires", ""), query["signature"])
        except ServiceError:
            if "authorization" in request.headers:
                return self._by_key(rule, request)
            raise
        return Principal(tenant="", scopes=frozenset({Scope.READ}), artifact_id=artifact_id)


def _bearer(request: Request) -> str:
    header = request.headers.get("authorization")
    if header is None:
        raise Unauthenticated(
            "No API key. Send it as 'Authorization: Bearer KEY'.", code="missing_api_key"
        )
    scheme, _, key = header.partition(" ")
    if scheme.lower() != "bearer" or not key.strip():
        raise Unauthenticated("The Authorization header must be 'Bearer KEY'.")
    return key.strip()


def _is_loopback(request: Request) -> bool:
    """True for a direct caller on this machine; a proxy in front speaks for someone else."""
    headers = request.headers
    if "x-forwarded-for" in headers or "forwarded" in headers:
        return False
    return request.client is not None and request.client.host in {"127.0.0.1", "::1"}
