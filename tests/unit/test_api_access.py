"""Who may call what: every route times every kind of caller."""

import dataclasses

import httpx
import pytest

from sandbox_service.api.access import ACCESS
from sandbox_service.api.app import create_api
from sandbox_service.api.auth import Carrier
from sandbox_service.domain.tenancy import Scope
from sandbox_service.tenants.keyring import Keyring, Principal
from sandbox_service.tenants.records import DEFAULT_SCOPES
from tests.unit.fakes.api_fakes import ALICE_KEY, BOB_KEY, World, small_settings

ROUTES = sorted(ACCESS)
GUARDED = [route for route in ROUTES if Carrier.ANYONE not in ACCESS[route].carriers]
OWNED = [route for route in GUARDED if "{" in route[1]]


NOT_KEYS = ["Bearer wrong", "Bearer ", "Bearer", "Basic YTpi", f"Token {ALICE_KEY}", "é"]


class OneScope:
    """Keys whose holder may do one kind of thing only."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope

    def find(self, key: str) -> Principal | None:
        return Principal("alice", frozenset({self._scope}))


@pytest.fixture(scope="module")
def world() -> World:
    """All tests here share one service; each has things of its own."""
    return World(small_settings())


def filled(path: str, world: World, session_id: str, execution_id: str) -> str:
    """The path with ids that exist and belong to alice."""
    artifact = world.artifacts.keep("alice", "a.txt", b"1", "text/plain")
    names = {
        "{session_id}": session_id,
        "{execution_id}": execution_id,
        "{path:path}": "a.txt",
        "{artifact_id}": artifact.id,
    }
    for name, value in names.items():
        path = path.replace(name, value)
    return path


async def path_of_alice(world: World, path: str) -> str:
    async with world.client(world.app()) as client:
        session_id = (await client.post("/v1/sessions", json={})).json()["id"]
        await client.put(f"/v1/sessions/{session_id}/files/a.txt", content=b"1")
        url = f"/v1/sessions/{session_id}/executions"
        execution_id = (await client.post(url, json={"code": "1"})).json()["id"]
    return filled(path, world, session_id, execution_id)


def test_every_route_is_in_the_authorisation_table_and_every_entry_has_a_route(
    world: World,
) -> None:
    """A new route without a rule fails here, and a rule without a route too."""
    app = world.app()
    routes = {(method, route.path) for route in app.routes for method in route.methods}
    assert routes == set(ACCESS)


@pytest.mark.parametrize(("method", "path"), GUARDED)
async def test_without_a_valid_key_a_guarded_route_answers_401(
    world: World, method: str, path: str
) -> None:
    async with world.client(world.app(), key=None) as client:
        for header in [None, *NOT_KEYS]:
            headers = {} if header is None else {"Authorization": header.encode()}
            answer = await client.request(method, path, headers=headers)
            assert answer.status_code == 401, header
            assert answer.headers["www-authenticate"].startswith("Bearer")
            if method != "HEAD":
                assert answer.json()["error"]["type"] == "authentication_error"


@pytest.mark.parametrize(("method", "path"), OWNED)
async def test_another_tenants_thing_is_not_found_on_any_route(
    world: World, method: str, path: str
) -> None:
    url = await path_of_alice(world, path)
    async with world.client(world.app(), key=BOB_KEY) as client:
        answer = await client.request(method, url, json={"code": "1"} if method == "POST" else None)
    assert answer.status_code == 404


@pytest.mark.parametrize("scope", list(Scope))
async def test_a_key_opens_the_routes_of_its_scope_and_no_others(scope: Scope) -> None:
    world = World(small_settings())
    services = dataclasses.replace(world.services(), keys=OneScope(scope))
    async with world.client(create_api(services)) as client:
        for method, path in GUARDED:
            answer = await client.request(method, path)
            is_refused = answer.status_code == 403
            assert is_refused == (ACCESS[method, path].scope is not scope), (method, path)


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/docs", "/openapi.json"])
async def test_public_routes_need_no_key(world: World, path: str) -> None:
    async with world.client(world.app(), key=None) as client:
        assert (await client.get(path)).status_code == 200


def test_a_keyring_finds_the_tenant_of_a_key_and_keeps_no_key() -> None:
    ring = Keyring([("alice", "a-key"), ("bob", "b-key")])
    found = ring.find("b-key")
    assert found is not None
    assert (found.tenant, found.scopes) == ("bob", DEFAULT_SCOPES)
    assert ring.find("c-key") is None
    assert "a-key" not in repr(vars(ring))


OPERATORS_ROUTES = [route for route in GUARDED if ACCESS[route].scope is Scope.ADMIN]
FORWARDED = [{}, {"X-Forwarded-For": "192.0.2.1"}, {"X-Real-IP": "192.0.2.1"}]


@pytest.mark.parametrize("route", OPERATORS_ROUTES)
@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "192.0.2.1"])
async def test_operators_routes_need_their_scope_wherever_the_call_comes_from(
    world: World, route: tuple[str, str], address: str
) -> None:
    """A proxy on this machine makes everybody local, with or without a header that says so."""
    transport = httpx.ASGITransport(world.app(), client=(address, 1))
    async with httpx.AsyncClient(transport=transport, base_url="http://api.test") as client:
        for headers in FORWARDED:
            assert (await client.request(*route, headers=headers)).status_code == 401
        key = {"Authorization": f"Bearer {ALICE_KEY}"}
        assert (await client.request(*route, headers=key)).status_code == 403
