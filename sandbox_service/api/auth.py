"""Who calls, and may they: every route and carrier of a right goes through `Gate.authorise`."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from starlette.requests import Request

from sandbox_service.api.bodies import check_query
from sandbox_service.domain.errors import (
    NotYours,
    PermissionDenied,
    RateLimited,
    ServiceError,
    Unauthenticated,
)
from sandbox_service.domain.json_values import clean_text
from sandbox_service.domain.tenancy import (
    CALLER,
    AuditLog,
    Caller,
    NoAudit,
    NoQuotas,
    Quotas,
    Scope,
)
from sandbox_service.tenants.keyring import Principal


class Carrier(StrEnum):
    """What a right may come from."""

    ANYONE = "anyone"
    KEY = "key"
    LINK = "link"


LONGEST_PATH = 512
ANYONE = Principal(tenant="", scopes=frozenset())


@dataclass(frozen=True, slots=True)
class Rule:
    """What a route asks of its caller."""

    scope: Scope | None
    carriers: frozenset[Carrier] = frozenset({Carrier.KEY})


class Keys(Protocol):
    def find(self, key: str) -> Principal | None:
        """Whom a key belongs to; None for an unknown one. Raises Unauthenticated for one of the past."""
        ...


class LinkVerifier(Protocol):
    def verify(self, artifact_id: str, expires: str, signature: str, issued: str = "") -> None: ...


REFUSALS = (Unauthenticated, PermissionDenied, NotYours, RateLimited)


class Gate:
    """Decides who may pass and how often, and has every refusal written down."""

    def __init__(
        self,
        keys: Keys,
        links: LinkVerifier,
        quotas: Quotas | None = None,
        audit: AuditLog | None = None,
    ) -> None:
        self._keys = keys
        self._links = links
        self._quotas = quotas or NoQuotas()
        self._audit = audit or NoAudit()

    async def let_in(self, rule: Rule, request: Request) -> Principal:
        """The caller, counted and known to the audit log. Raises what `authorise` does, and RateLimited."""
        CALLER.set(Caller(address=_address(request)))
        principal = self.authorise(rule, request)
        CALLER.set(Caller(principal.tenant, principal.key_id, _address(request)))
        if principal.tenant:
            await self._quotas.admit(principal.tenant)
        return principal

    def note_refusal(self, request: Request, error: ServiceError) -> None:
        """Has a refusal written down: by whom, from where, of what and why."""
        caller = CALLER.get()
        self._audit.record(
            "request.refused",
            tenant=caller.tenant,
            key_id=caller.key_id,
            address=caller.address,
            method=request.method,
            path=clean_text(request.scope["path"][:LONGEST_PATH]),
            code="other_tenant" if isinstance(error, NotYours) else error.code,
            request_id=request.scope["state"].get("request_id"),
        )

    def authorise(self, rule: Rule, request: Request) -> Principal:
        """The caller, if the rule lets it in. Raises Unauthenticated or PermissionDenied."""
        if Carrier.ANYONE in rule.carriers:
            return ANYONE
        if Carrier.LINK in rule.carriers and _names_signature(request):
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
        expires, issued = query.get("expires", ""), query.get("issued", "")
        try:
            self._links.verify(artifact_id, expires, query["signature"], issued)
        except ServiceError:
            if "authorization" in request.headers:
                return self._by_key(rule, request)
            raise
        return Principal(tenant="", scopes=frozenset({Scope.READ}), artifact_id=artifact_id)


def _names_signature(request: Request) -> bool:
    check_query(request.scope)
    return "signature" in request.query_params


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


def _address(request: Request) -> str:
    return "" if request.client is None else request.client.host
