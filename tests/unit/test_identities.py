"""Every route times every kind of identity. A route that is not in the table below fails here."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from sandbox_service.domain.clock import SystemClock
from sandbox_service.domain.tenancy import Scope
from sandbox_service.tenants.key_file import KeyFile
from sandbox_service.tenants.keyring import Keyring
from sandbox_service.tenants.records import make_key
from tests.unit.fakes.api_fakes import World, small_settings

PUBLIC, OPERATOR, EXECUTE, FILES, READ, LINK = "public", "admin", "execute", "files", "read", "link"

# What each route takes: a scope; LINK is the scope `read` or a signed link.
TABLE = {
    ("GET", "/healthz"): PUBLIC,
    ("GET", "/readyz"): PUBLIC,
    ("GET", "/docs"): PUBLIC,
    ("GET", "/openapi.json"): PUBLIC,
    ("GET", "/metrics"): OPERATOR,
    ("GET", "/v1/posture"): OPERATOR,
    ("POST", "/v1/sessions"): EXECUTE,
    ("GET", "/v1/sessions"): READ,
    ("GET", "/v1/sessions/{session_id}"): READ,
    ("PATCH", "/v1/sessions/{session_id}"): EXECUTE,
    ("DELETE", "/v1/sessions/{session_id}"): EXECUTE,
    ("POST", "/v1/sessions/{session_id}/interrupt"): EXECUTE,
    ("POST", "/v1/sessions/{session_id}/restart"): EXECUTE,
    ("GET", "/v1/sessions/{session_id}/notebook"): READ,
    ("POST", "/v1/sessions/{session_id}/executions"): EXECUTE,
    ("GET", "/v1/sessions/{session_id}/executions"): READ,
    ("GET", "/v1/sessions/{session_id}/executions/{execution_id}"): READ,
    ("GET", "/v1/sessions/{session_id}/executions/{execution_id}/events"): READ,
    ("POST", "/v1/executions"): EXECUTE,
    ("POST", "/mcp"): EXECUTE,
    ("GET", "/v1/sessions/{session_id}/files"): FILES,
    ("POST", "/v1/sessions/{session_id}/files"): FILES,
    ("GET", "/v1/sessions/{session_id}/files/{path:path}"): FILES,
    ("HEAD", "/v1/sessions/{session_id}/files/{path:path}"): FILES,
    ("PUT", "/v1/sessions/{session_id}/files/{path:path}"): FILES,
    ("DELETE", "/v1/sessions/{session_id}/files/{path:path}"): FILES,
    ("GET", "/v1/sessions/{session_id}/archive"): FILES,
    ("GET", "/v1/artifacts/{artifact_id}"): LINK,
    ("DELETE", "/v1/artifacts/{artifact_id}"): FILES,
    ("DELETE", "/v1/artifacts/{artifact_id}/links"): FILES,
    ("GET", "/v1/artifacts/{artifact_id}/content"): LINK,
    ("HEAD", "/v1/artifacts/{artifact_id}/content"): LINK,
}

NO_KEY = {"none": None, "malformed": "Token x", "not a key": "Bearer x", "empty": "Bearer "}
PAST_KEYS = {"expired": "key_expired", "revoked": "key_revoked"}
LINKS = ["good", "wrong", "expired", "revoked", "other artifact"]


@dataclass
class Site:
    """A service with two tenants; the ids are of things that belong to alice."""

    world: World
    client: httpx.AsyncClient
    keys: dict[str, str]
    ids: dict[str, str]
    other_artifact: str

    def url(self, path: str, ids: dict[str, str] | None = None) -> str:
        for name, value in (ids or self.ids).items():
            path = path.replace(name, value)
        return path

    async def ask(self, route: tuple[str, str], key: str = "", **parts: Any) -> httpx.Response:
        method, path = route
        headers = {"Authorization": f"Bearer {self.keys[key]}"} if key else {}
        json = {"code": "1"} if method == "POST" and path.endswith("executions") else None
        return await self.client.request(
            method, self.url(path), **{"headers": headers, "json": json, **parts}
        )

    def link(self, kind: str) -> dict[str, str]:
        """The query of a link, to the artifact in `ids` if it is good."""
        links, artifact = self.world.links, self.ids["{artifact_id}"]
        later = datetime.now(UTC) + timedelta(hours=1)
        signed_for = self.other_artifact if kind == "other artifact" else artifact
        until = datetime.now(UTC) - timedelta(hours=1) if kind == "expired" else later
        query = dict(httpx.QueryParams(links.sign(signed_for, until)))
        if kind == "wrong":
            query["signature"] = "0" * 64
        if kind == "revoked":
            links.revoke(artifact)
        return query


def keys_in(path: Path) -> dict[str, str]:
    """A key of each kind, all but one alice's."""
    file, now, clock = KeyFile(path), datetime.now(UTC), SystemClock()
    made = {scope.value: make_key("alice", now, scopes=[scope]) for scope in Scope}
    made["all"] = make_key("alice", now, scopes=list(Scope))
    made["bob"] = make_key("bob", now, scopes=list(Scope))
    made["expired"] = make_key("alice", now, scopes=list(Scope), expires_at=now)
    made["revoked"] = make_key("alice", now, scopes=list(Scope))
    for fresh in made.values():
        file.add(fresh)
    file.revoke(made["revoked"].record.id, clock.now())
    return {name: fresh.key for name, fresh in made.items()}


@dataclass
class House:
    """A service that all tests of this file share: each brings things of its own."""

    world: World
    app: FastAPI
    keys: dict[str, str]


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> House:
    world, path = World(small_settings()), tmp_path_factory.mktemp("keys") / "keys.json"
    keys = keys_in(path)
    world.keys = Keyring([], KeyFile(path))
    return House(world, world.app(), keys)


@pytest.fixture
async def site(house: House) -> AsyncIterator[Site]:
    world, keys = house.world, house.keys
    async with world.client(house.app, key=keys["all"]) as client:
        session = (await client.post("/v1/sessions", json={})).json()["id"]
        await client.put(f"/v1/sessions/{session}/files/a.txt", content=b"1")
        url = f"/v1/sessions/{session}/executions"
        execution = (await client.post(url, json={"code": "1"})).json()["id"]
        artifacts = [world.artifacts.keep("alice", "a", b"1", "text/plain") for _ in range(2)]
        ids = {
            "{session_id}": session,
            "{execution_id}": execution,
            "{path:path}": "a.txt",
            "{artifact_id}": artifacts[0].id,
        }
        client.headers.pop("authorization")
        world.audit.events.clear()
        yield Site(world, client, keys, ids, artifacts[1].id)


def routes(*kinds: str) -> list[tuple[str, str]]:
    return [route for route, kind in TABLE.items() if kind in kinds]


GUARDED = routes(OPERATOR, EXECUTE, FILES, READ, LINK)
OWNED = [route for route in GUARDED if "{" in route[1]]
every = pytest.mark.parametrize


def test_the_table_has_every_route_and_no_other() -> None:
    app = World(small_settings()).app()
    assert {(method, r.path) for r in app.routes for method in r.methods} == set(TABLE)


@every("route", routes(PUBLIC))
async def test_a_public_route_takes_anybody(site: Site, route: tuple[str, str]) -> None:
    assert (await site.ask(route)).status_code == 200
    assert (await site.ask(route, "revoked")).status_code == 200


@every("header", NO_KEY.values(), ids=NO_KEY)
@every("route", GUARDED)
async def test_without_a_key_there_is_nothing(
    site: Site, route: tuple[str, str], header: str | None
) -> None:
    headers = {} if header is None else {"Authorization": header}
    assert (await site.ask(route, headers=headers)).status_code == 401
    [refusal] = site.world.audit.of("request.refused")
    assert (refusal["tenant"], refusal["method"]) == ("", route[0])
    assert refusal["address"] == "192.0.2.1"


@every("past", PAST_KEYS)
@every("route", GUARDED)
async def test_a_key_of_the_past_opens_nothing(
    site: Site, route: tuple[str, str], past: str
) -> None:
    answer = await site.ask(route, past)
    assert answer.status_code == 401
    assert site.world.audit.of("request.refused")[0]["code"] == PAST_KEYS[past]
    if route[0] != "HEAD":
        assert answer.json()["error"]["code"] == PAST_KEYS[past]


@every("scope", list(Scope))
@every("route", GUARDED)
async def test_a_scope_opens_its_routes_and_the_refusal_names_the_one_that_is_missing(
    site: Site, route: tuple[str, str], scope: Scope
) -> None:
    needed = READ if TABLE[route] == LINK else TABLE[route]
    answer = await site.ask(route, scope.value)
    if scope.value == needed:
        assert answer.status_code < 500
        assert answer.status_code not in (401, 403, 404)
        return
    assert answer.status_code == 403
    assert [e["code"] for e in site.world.audit.of("request.refused")] == ["permission_denied"]
    if route[0] != "HEAD":
        assert answer.json()["error"]["code"] == "permission_denied"
        assert f"'{needed}'" in answer.json()["error"]["message"]


def told(answer: httpx.Response, ids: dict[str, str]) -> tuple[int, str]:
    """What an answer tells, but for the ids that the caller sent and the request's own."""
    text = answer.text
    for name, value in ids.items():
        text = text.replace(value, name)
    if answer.content:
        text = text.replace(answer.json()["error"]["request_id"], "")
    return answer.status_code, text


@every("route", OWNED)
async def test_another_tenants_thing_is_told_apart_from_none_only_in_the_audit_log(
    site: Site, route: tuple[str, str]
) -> None:
    foreign = await site.ask(route, "bob")
    refusals = site.world.audit.of("request.refused")
    assert [e["code"] for e in refusals] == ["other_tenant"]
    assert refusals[0]["tenant"] == "bob"
    nothing = {name: value[:-4] + "0000" for name, value in site.ids.items()}
    nothing["{path:path}"] = site.ids["{path:path}"]
    headers = {"Authorization": f"Bearer {site.keys['bob']}"}
    method, path = route
    json = {"code": "1"} if method == "POST" and path.endswith("executions") else None
    missing = await site.client.request(method, site.url(path, nothing), headers=headers, json=json)
    assert foreign.status_code == 404
    assert told(foreign, site.ids) == told(missing, nothing)
    assert len(site.world.audit.of("request.refused")) == 1


@every("kind", LINKS)
@every("route", GUARDED)
async def test_a_link_opens_its_own_artifact_for_reading_and_nothing_else(
    site: Site, route: tuple[str, str], kind: str
) -> None:
    answer = await site.ask(route, params=site.link(kind))
    if TABLE[route] != LINK:
        assert answer.status_code == 401
    else:
        assert answer.status_code == (200 if kind == "good" else 403)


async def test_links_signed_after_a_revocation_hold(site: Site) -> None:
    content = ("GET", "/v1/artifacts/{artifact_id}/content")
    old = site.link("good")
    revoked = await site.ask(("DELETE", "/v1/artifacts/{artifact_id}/links"), "all")
    assert revoked.status_code == 204
    assert (await site.ask(content, params=old)).status_code == 403
    assert (await site.ask(content, "all")).status_code == 200
    assert (await site.ask(content, params=site.link("good"))).status_code == 200
    [event] = site.world.audit.of("link.revoked")
    assert (event["tenant"], event["artifact_id"]) == ("alice", site.ids["{artifact_id}"])


async def test_a_deleted_artifact_is_gone_for_keys_and_links(site: Site) -> None:
    one = "/v1/artifacts/{artifact_id}"
    link = site.link("good")
    assert (await site.ask(("DELETE", one), "all")).status_code == 204
    assert (await site.ask(("GET", one), "all")).status_code == 404
    assert (await site.ask(("GET", one + "/content"), params=link)).status_code == 404
    assert (await site.ask(("DELETE", one), "all")).status_code == 404
