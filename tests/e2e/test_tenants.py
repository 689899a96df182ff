"""Tenants on a real service: keys, quotas, and what the audit log says of them afterwards."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import docker
import httpx
import pytest

from tests.conftest import containers_of
from tests.support.service import ServiceProcess

pytestmark = pytest.mark.docker

PRIVATE = "hush_hush_4711"
QUOTAS = {
    "SANDBOX_QUOTA_SESSIONS": "2",
    "SANDBOX_QUOTA_EXECUTIONS": "3",
    "SANDBOX_QUOTA_STORED_BYTES": "1000000",
    "SANDBOX_MAX_SESSIONS": "8",
    "SANDBOX_AUDIT_RECORD_TENANTS": "second",
}


@pytest.fixture(scope="module")
def place(engine: docker.DockerClient, tmp_path_factory) -> Iterator[ServiceProcess]:
    """A service of its own with small quotas, which leaves an audit log that holds."""
    process = ServiceProcess(tmp_path_factory.mktemp("tenants"), "docker", **QUOTAS)
    with process:
        yield process
    assert containers_of(engine, process.instance) == []
    verdict = process.command("audit", "verify")
    assert verdict.returncode == 0, verdict.stderr


@pytest.fixture
async def first(place: ServiceProcess) -> AsyncIterator[httpx.AsyncClient]:
    async with place.client() as client:
        yield client


@pytest.fixture
async def second(place: ServiceProcess) -> AsyncIterator[httpx.AsyncClient]:
    async with place.client(place.other_key) as client:
        yield client


@pytest.fixture
async def session(first: httpx.AsyncClient) -> AsyncIterator[str]:
    url = await opened(first)
    yield url
    await first.delete(url)


async def opened(client: httpx.AsyncClient, **body: object) -> str:
    answer = await client.post("/v1/sessions", json=body)
    assert answer.status_code == 201, answer.text
    return f"/v1/sessions/{answer.json()['id']}"


async def run(client: httpx.AsyncClient, session: str, code: str) -> httpx.Response:
    return await client.post(f"{session}/executions", json={"code": code})


def refused_by(answer: httpx.Response) -> str:
    assert answer.status_code == 429, answer.text
    assert int(answer.headers["retry-after"]) >= 1
    assert answer.json()["error"]["retryable"]
    return str(answer.json()["error"]["code"])


def make_key(place: ServiceProcess, *options: str) -> str:
    made = place.command("keys", "create", "--tenant", "first", *options)
    assert made.returncode == 0, made.stderr
    return made.stdout.strip()


def events(place: ServiceProcess, kind: str) -> list[dict[str, Any]]:
    files = sorted((place.directory / "data" / "audit").glob("*.jsonl"))
    entries = [json.loads(line) for path in files for line in path.read_text().splitlines()]
    return [entry for entry in entries if entry["event"] == kind]


async def event(place: ServiceProcess, kind: str, **known: object) -> dict[str, Any]:
    """The event of this kind with these details, once it is written."""
    async with asyncio.timeout(60):
        while True:
            for entry in events(place, kind):
                if known.items() <= entry.items():
                    return entry
            await asyncio.sleep(0.05)


async def test_a_key_works_as_soon_as_it_is_made_and_no_longer_once_it_is_revoked(
    place: ServiceProcess, session: str
) -> None:
    key = make_key(place, "--name", "a test")
    key_id = place.command("keys", "list").stdout.splitlines()[-1].split()[0]
    assert key not in place.command("keys", "list").stdout
    async with place.client(key) as client:
        assert (await client.get(session)).status_code == 200
        assert place.command("keys", "revoke", key_id).returncode == 0
        answer = await client.get(session)
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "key_revoked")
    assert (await event(place, "key.revoked", key_id=key_id))["tenant"] == "first"


async def test_a_stream_ends_when_its_key_is_revoked(place: ServiceProcess, session: str) -> None:
    key = make_key(place)
    key_id = place.command("keys", "list").stdout.splitlines()[-1].split()[0]
    code = "import time\nfor n in range(1000): print(n, flush=True); time.sleep(0.1)"
    body = {"code": code, "stream": True, "cancel_on_disconnect": True}
    async with (
        place.client(key) as client,
        client.stream("POST", f"{session}/executions", json=body) as answer,
    ):
        lines = answer.aiter_lines()
        async for line in lines:
            if line == "event: output":
                break
        place.command("keys", "revoke", key_id)
        rest = [line async for line in lines]
    assert [line for line in rest if line.startswith("event:")][-1] == "event: error"
    assert "key_revoked" in rest[-2] + rest[-1]


async def test_an_expired_key_and_a_scope_too_few_are_refused(place: ServiceProcess) -> None:
    async with place.client(make_key(place, "--expires-in", "0s")) as client:
        answer = await client.get("/v1/sessions")
        assert (answer.status_code, answer.json()["error"]["code"]) == (401, "key_expired")
    async with place.client(make_key(place, "--scope", "read")) as client:
        assert (await client.get("/v1/sessions")).status_code == 200
        answer = await client.post("/v1/sessions", json={})
        assert answer.status_code == 403
        assert "'execute'" in answer.json()["error"]["message"]


async def test_without_a_valid_key_the_service_binds_loopback_only(
    place: ServiceProcess, tmp_path: Path
) -> None:
    directory = {"SANDBOX_API_KEYS": "", "SANDBOX_DATA_DIR": str(tmp_path)}
    assert place.command("keys", "create", "--tenant", "t", **directory).returncode == 0
    key_id = place.command("keys", "list", **directory).stdout.split()[0]
    place.command("keys", "revoke", key_id, **directory)
    refused = place.command("serve", "--host", "0.0.0.0", "--port", "0", **directory)
    assert refused.returncode == 2
    assert "there must be a key" in refused.stderr
    assert "Traceback" not in refused.stderr


async def test_sessions_are_counted_and_free_again_when_closed_expired_or_never_opened(
    first: httpx.AsyncClient,
) -> None:
    too_big = {"limits": {"memory_bytes": 1 << 50}}
    assert (await first.post("/v1/sessions", json=too_big)).status_code == 400
    urls = [await opened(first), await opened(first, idle_ttl_s=4)]
    assert refused_by(await first.post("/v1/sessions", json={})) == "quota_sessions"
    await first.delete(urls[0])
    urls.append(await opened(first))
    while (await first.get(urls[1])).json()["status"] != "expired":
        await asyncio.sleep(0.1)
    async with asyncio.timeout(60):
        while (answer := await first.post("/v1/sessions", json={})).status_code == 429:
            await asyncio.sleep(0.1)
    for url in (urls[2], f"/v1/sessions/{answer.json()['id']}"):
        await first.delete(url)


async def test_a_burst_of_one_tenant_gets_its_quota_and_the_other_is_served(
    first: httpx.AsyncClient, second: httpx.AsyncClient
) -> None:
    burst = [asyncio.create_task(first.post("/v1/sessions", json={})) for _ in range(20)]
    theirs = await opened(second)
    answers = await asyncio.gather(*burst)
    statuses = [answer.status_code for answer in answers]
    assert (statuses.count(201), statuses.count(429)) == (2, 18)
    for answer in answers:
        if answer.status_code == 201:
            await first.delete(f"/v1/sessions/{answer.json()['id']}")
    await second.delete(theirs)


async def test_executions_are_counted_also_those_whose_caller_hung_up(
    first: httpx.AsyncClient, session: str
) -> None:
    waits = "import os, time\nwhile not os.path.exists('go'): time.sleep(0.01)"
    slow = {"code": waits, "stream": True}
    for _ in range(3):
        async with first.stream("POST", f"{session}/executions", json=slow) as answer:
            assert answer.status_code == 200
    assert refused_by(await run(first, session, "1")) == "quota_executions"
    await first.put(f"{session}/files/go", content=b"")
    async with asyncio.timeout(60):
        while (await run(first, session, "1")).status_code == 429:
            await asyncio.sleep(0.2)
    assert (await run(first, session, "1")).status_code == 200


async def test_a_closed_session_gives_its_waiting_executions_back(
    first: httpx.AsyncClient,
) -> None:
    url = await opened(first)
    slow = [asyncio.create_task(run(first, url, "import time; time.sleep(60)")) for _ in range(3)]
    while len((await first.get(f"{url}/executions")).json()["data"]) < 3:
        await asyncio.sleep(0.05)
    assert refused_by(await run(first, url, "1")) == "quota_executions"
    await first.delete(url)
    await asyncio.gather(*slow)
    again = await opened(first)
    assert (await run(first, again, "1")).status_code == 200
    await first.delete(again)


async def test_files_beyond_the_storage_quota_are_not_kept_and_room_comes_back(
    first: httpx.AsyncClient, session: str
) -> None:
    code = "with open({!r}, 'wb') as f: f.write(bytes(700_000))"
    one = (await run(first, session, code.format("one"))).json()
    two = (await run(first, session, code.format("two"))).json()
    assert [artifact["path"] for artifact in one["artifacts"]] == ["one"]
    assert two["artifacts"] == []
    assert "stored files" in two["notices"][0]
    assert (await first.delete(f"/v1/artifacts/{one['artifacts'][0]['id']}")).status_code == 204
    three = (await run(first, session, code.format("three"))).json()
    assert [artifact["path"] for artifact in three["artifacts"]] == ["three"]
    await first.delete(f"/v1/artifacts/{three['artifacts'][0]['id']}")


async def test_limits_of_one_tenant_hold_from_the_next_call_on(
    place: ServiceProcess, first: httpx.AsyncClient, second: httpx.AsyncClient
) -> None:
    assert place.command("quotas", "set", "first", "requests_per_s=0.1").returncode == 0
    answers = [await first.get("/v1/sessions") for _ in range(3)]
    assert refused_by(answers[-1]) == "rate_requests"
    assert (await second.get("/v1/sessions")).status_code == 200
    assert place.command("quotas", "clear", "first").returncode == 0
    assert (await first.get("/v1/sessions")).status_code == 200


async def test_a_link_can_be_revoked(
    place: ServiceProcess, first: httpx.AsyncClient, session: str
) -> None:
    [artifact] = (await run(first, session, "open('a', 'w').write('x')")).json()["artifacts"]
    async with httpx.AsyncClient() as anybody:
        assert (await anybody.get(artifact["url"])).text == "x"
        one = f"/v1/artifacts/{artifact['id']}"
        assert (await first.delete(one + "/links")).status_code == 204
        assert (await anybody.get(artifact["url"])).status_code == 403
        renewed = (await first.get(one)).json()["url"]
        assert (await anybody.get(renewed)).text == "x"
    assert (await event(place, "link.revoked", artifact_id=artifact["id"]))["tenant"] == "first"


async def test_nothing_of_one_tenant_is_found_by_the_other(
    place: ServiceProcess, first: httpx.AsyncClient, second: httpx.AsyncClient, session: str
) -> None:
    execution = (await run(first, session, "open('mine', 'w').write('x')")).json()
    artifact = f"/v1/artifacts/{execution['artifacts'][0]['id']}"
    calls = [
        ("GET", session),
        ("PATCH", session),
        ("DELETE", session),
        ("POST", session + "/interrupt"),
        ("POST", session + "/restart"),
        ("GET", session + "/notebook"),
        ("GET", session + "/executions"),
        ("POST", session + "/executions"),
        ("GET", f"{session}/executions/{execution['id']}"),
        ("GET", f"{session}/executions/{execution['id']}/events"),
        ("GET", session + "/files"),
        ("GET", session + "/files/mine"),
        ("PUT", session + "/files/mine"),
        ("DELETE", session + "/files/mine"),
        ("GET", session + "/archive"),
        ("GET", artifact),
        ("GET", artifact + "/content"),
        ("DELETE", artifact),
        ("DELETE", artifact + "/links"),
    ]
    for method, url in calls:
        is_run = method == "POST" and url.endswith("executions")
        answer = await second.request(method, url, json={"code": "1"} if is_run else None)
        assert answer.status_code == 404, (method, url)
        await event(place, "request.refused", code="other_tenant", method=method, path=url)
    assert (await run(first, session, "open('mine').read()")).json()["status"] == "ok"
    seen = (await second.get("/v1/sessions")).text
    assert session[13:] not in seen
    body = {"code": "1", "session_id": session[13:]}
    assert (await second.post("/v1/executions", json=body)).status_code == 404
    cursor = {"after": session[13:]}
    assert (await second.get("/v1/sessions", params=cursor)).json()["data"] == []


async def test_the_audit_log_says_who_ran_what_but_not_the_code(
    place: ServiceProcess, first: httpx.AsyncClient, second: httpx.AsyncClient, session: str
) -> None:
    execution = (
        await run(first, session, f"print({PRIVATE!r}); open('f', 'w').write('x');")
    ).json()
    entry = await event(place, "execution.finished", execution_id=execution["id"])
    assert (entry["tenant"], entry["status"], entry["address"]) == ("first", "ok", "127.0.0.1")
    assert (entry["output_bytes"], entry["files"][0]["path"]) == (len(PRIVATE) + 1, "f")
    assert (await event(place, "session.opened", session_id=session[13:]))["limits"]["cpus"] > 0
    log = "".join(p.read_text() for p in (place.directory / "data" / "audit").glob("*.jsonl"))
    assert PRIVATE not in log
    assert place.key not in log
    theirs = await opened(second)
    recorded = (await run(second, theirs, "6 * 7")).json()
    entry = await event(place, "execution.finished", execution_id=recorded["id"])
    assert entry["code"] == "6 * 7"
    await second.delete(theirs)
    assert (await event(place, "session.closed", session_id=theirs[13:]))["tenant"] == "second"


def test_a_line_changed_in_the_audit_log_is_found(place: ServiceProcess, tmp_path: Path) -> None:
    lines = sorted((place.directory / "data" / "audit").glob("*.jsonl"))[0].read_bytes()
    copy = tmp_path / "audit-000001.jsonl"
    copy.write_bytes(lines.replace(b'"tenant":"first"', b'"tenant":"other"', 1))
    verdict = place.command("audit", "verify", str(tmp_path))
    assert verdict.returncode == 1
    assert "audit-000001.jsonl, line 1: its content was changed" in verdict.stderr
