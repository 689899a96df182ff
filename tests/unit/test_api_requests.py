"""What is wrong with a request is said in one body, with the field and the limit."""

import json
import re

import httpx
import pytest
from prometheus_client import generate_latest

from sandbox_service.api.bodies import check_values
from sandbox_service.domain.errors import (
    AgentViolation,
    Conflict,
    EngineUnavailable,
    InvalidRequest,
    RateLimited,
    RuntimeUnavailable,
    SandboxStartFailed,
    ServiceError,
    SessionGone,
    ShuttingDown,
    StoreUnavailable,
)
from tests.unit.fakes.api_fakes import Caller, World, small_settings


@pytest.fixture
def world() -> World:
    return World(small_settings())


async def opened(client: httpx.AsyncClient) -> str:
    return str((await client.post("/v1/sessions", json={})).json()["id"])


def error_of(answer: httpx.Response) -> dict[str, object]:
    body = answer.json()["error"]
    assert set(body) == {"type", "code", "message", "param", "retryable", "request_id"}
    assert body["request_id"] == answer.headers["x-request-id"]
    return dict(body)


EXECUTE = "/v1/sessions/{id}/executions"
BAD_BODIES = [
    ("/v1/sessions", b"{", 400, None, "not valid JSON"),
    ("/v1/sessions", b"[]", 400, None, "JSON object"),
    ("/v1/sessions", b"null", 400, None, "JSON object"),
    ("/v1/sessions", b'{"colour": 1}', 400, "colour", "no such field"),
    ("/v1/sessions", b'{"idle_ttl_s": 0}', 400, "idle_ttl_s", "greater than 0"),
    ("/v1/sessions", b'{"idle_ttl_s": "60"}', 400, "idle_ttl_s", "valid number"),
    ("/v1/sessions", b'{"idle_ttl_s": 1e400}', 400, "idle_ttl_s", "finite"),
    ("/v1/sessions", b'{"limits": {"gpus": 1}}', 400, "limits.gpus", "no such field"),
    ("/v1/sessions", b'{"limits": {"memory_bytes": -1}}', 400, "limits.memory_bytes", "than 0"),
    ("/v1/sessions", b'{"limits": {"memory_bytes": 1.5}}', 400, "limits.memory_bytes", "integer"),
    ("/v1/sessions", b'{"metadata": {"a": 1}}', 400, "metadata.a", "string"),
    ("/v1/sessions", b'{"metadata": {"a": "%s"}}' % (b"x" * 513), 400, "metadata.a", "512"),
    ("/v1/sessions", b'{"template": "perl"}', 400, "template", "no template"),
    ("/v1/sessions", b'{"template": "%s"}' % (b"x" * 70_000), 413, "body", "65536 bytes"),
    (EXECUTE, b"{" + b'"a":1,' * 8_000 + b"}", 400, "body", "more than 1000 values"),
    (EXECUTE, b'{"a":' * 8_000, 400, "body", "more than 1000 values"),
    (EXECUTE, b'{"code": ' + b"[" * 8_000, 400, "body", "more than 1000 values"),
    ("/v1/sessions", b'{"metadata": {%s}}' % (b'"a":"b",' * 2000), 400, "body", "1000 values"),
    (EXECUTE, b"", 400, "code", "required"),
    (EXECUTE, b'{"code": 1}', 400, "code", "string"),
    (EXECUTE, b'{"code": "\xff"}', 400, None, "not valid JSON"),
    (EXECUTE, b'{"code": "\\ud800"}', 400, None, "not valid JSON"),
    (EXECUTE, b'{"code": "1", "timeout_s": NaN}', 400, "timeout_s", "finite"),
    (EXECUTE, b'{"code": "1", "timeout_s": -1}', 400, "timeout_s", "greater than 0"),
    (EXECUTE, b'{"code": "1", "stream": "yes"}', 400, "stream", "boolean"),
    (EXECUTE, b'{"code": "1", "lang": "r"}', 400, "lang", "no such field"),
    (EXECUTE, b'{"code": "%s"}' % (b"x" * 1001), 413, "code", "limit is 1000"),
    (EXECUTE, b'{"code": "%s"}' % ("é" * 501).encode(), 413, "code", "limit is 1000"),
    (EXECUTE, b'{"code": "%s"}' % (b"x" * 80_000), 413, "body", "limit"),
    (EXECUTE, b"[" * 100_000, 413, "body", "limit"),
    (EXECUTE, b"[" * 900, 400, None, "not valid JSON"),
    ("/v1/executions", b'{"code": "%s"}' % (b"x" * 1001), 413, "code", "limit is 1000"),
    ("/v1/executions", b'{"code": "1", "session_id": "a", "session": {}}', 400, None, "both"),
    ("/v1/executions", b'{"code": "1", "session": {"x": 1}}', 400, "session.x", "no such field"),
]


@pytest.mark.parametrize(("path", "body", "status", "param", "text"), BAD_BODIES)
async def test_a_bad_body_is_refused_with_its_field_and_the_limit(
    world: World, path: str, body: bytes, status: int, param: str | None, text: str
) -> None:
    async with world.client(world.app()) as client:
        session_id = await opened(client)
        answer = await client.post(path.replace("{id}", session_id), content=body)
        assert len(world.sessions.records) == 1
    assert answer.status_code == status
    error = error_of(answer)
    assert (error["type"], error["param"]) == ("invalid_request_error", param)
    assert text in str(error["message"])


def test_what_stands_in_a_string_is_no_value() -> None:
    """Code of many lists and quotes is one string."""
    body = json.dumps({"code": 'x = ["a\\\\", {"b": [1]}]\n' * 5_000}).encode()
    check_values(body, 10)
    with pytest.raises(InvalidRequest):
        check_values(body + b"," * 20, 10)


async def test_a_query_has_a_bounded_number_of_parameters(world: World) -> None:
    async with world.client(world.app()) as client:
        answer = await client.get("/v1/sessions?" + "&".join(["a=1"] * 200))
    assert error_of(answer)["param"] == "query"


async def test_several_problems_are_all_named(world: World) -> None:
    async with world.client(world.app()) as client:
        answer = await client.post("/v1/sessions", json={"a": 1, "b": 2})
    assert re.search("a: .*; b: ", str(error_of(answer)["message"]))


async def test_a_body_without_announced_length_is_cut_off_at_the_limit(world: World) -> None:
    chunks = [b'{"template": "'] + [b"x" * 10_000] * 20
    async with Caller(world.app(), "POST", "/v1/sessions", body=chunks) as caller:
        assert (await caller.next())["status"] == 413


async def test_a_caller_that_leaves_within_its_body_is_no_error_of_ours(world: World) -> None:
    app = world.app()
    async with Caller(app, "POST", "/v1/sessions", body=[b"{"], hangs_up_in_body=True) as caller:
        await caller.hang_up()
        assert not caller.has_more()
    assert not world.sessions.records


BAD_ROUTES = [
    ("GET", "/", 404, "route_not_found"),
    ("GET", "/v1/nothing", 404, "route_not_found"),
    ("GET", "/v1/sessions/", 404, "route_not_found"),
    ("PUT", "/v1/sessions", 405, "method_not_allowed"),
    ("DELETE", "/healthz", 405, "method_not_allowed"),
    ("OPTIONS", "/v1/sessions", 405, "method_not_allowed"),
]


@pytest.mark.parametrize(("method", "path", "status", "code"), BAD_ROUTES)
async def test_unknown_routes_and_methods_have_the_error_body(
    world: World, method: str, path: str, status: int, code: str
) -> None:
    async with world.client(world.app()) as client:
        answer = await client.request(method, path)
    assert (answer.status_code, error_of(answer)["code"]) == (status, code)


async def test_a_wrong_method_is_told_all_the_right_ones(world: World) -> None:
    async with world.client(world.app()) as client:
        answer = await client.put("/v1/sessions/x")
    assert answer.headers["allow"] == "DELETE, GET, PATCH"


FAILURES = [
    (RateLimited("Too many.", retry_after_s=1.2), 429, True, "2"),
    (Conflict("It is starting."), 409, False, None),
    (SessionGone("It was closed.", code="session_closed"), 410, False, None),
    (EngineUnavailable("No engine.", retry_after_s=0.1), 503, True, "1"),
    (StoreUnavailable("No store.", retry_after_s=2), 503, True, "2"),
    (ShuttingDown("Until soon."), 503, True, "1"),
    (RuntimeUnavailable("No runsc."), 503, True, "1"),
    (SandboxStartFailed("Too slow."), 503, True, "1"),
    (AgentViolation("It lied."), 503, True, "1"),
    (ServiceError("Strange."), 500, False, None),
]


@pytest.mark.parametrize(("failure", "status", "retryable", "retry_after"), FAILURES)
async def test_each_failure_has_its_status(
    world: World, failure: ServiceError, status: int, retryable: bool, retry_after: str | None
) -> None:
    world.sessions.refusal = failure
    async with world.client(world.app()) as client:
        answer = await client.post("/v1/sessions", json={})
    error = error_of(answer)
    assert (answer.status_code, error["retryable"]) == (status, retryable)
    assert (error["code"], error["message"]) == (failure.code, failure.message)
    assert answer.headers.get("retry-after") == retry_after


async def test_what_nobody_expected_is_500_and_tells_nothing_of_the_inside(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.sessions.refusal = RuntimeError("secret detail")
    async with world.client(world.app()) as client:
        answer = await client.post("/v1/sessions", json={})
    assert answer.status_code == 500
    assert "secret" not in answer.text
    assert str(error_of(answer)["request_id"]) in caplog.text


@pytest.mark.parametrize(
    ("sent", "is_kept"), [("abc-1.X_y", True), ("a" * 64, True), ("a" * 65, False), ("a b", False)]
)
async def test_a_sane_request_id_is_handed_back(world: World, sent: str, is_kept: bool) -> None:
    async with world.client(world.app()) as client:
        answer = await client.get("/healthz", headers={"X-Request-Id": sent})
    assert (answer.headers["x-request-id"] == sent) == is_kept


async def test_readiness_gives_its_reasons(world: World) -> None:
    world.reasons.append("the engine does not answer")
    async with world.client(world.app()) as client:
        answer = await client.get("/readyz")
        assert (await client.get("/healthz")).status_code == 200
    assert answer.status_code == 503
    assert error_of(answer)["code"] == "not_ready"
    assert "engine" in str(error_of(answer)["message"])


async def test_requests_are_counted_by_route_not_by_path(world: World) -> None:
    async with world.client(world.app()) as client:
        await client.get("/v1/sessions/some-id")
        await client.get("/v1/some/where")
    text = generate_latest(world.registry).decode()
    assert 'route="/v1/sessions/{session_id}",status="404"' in text
    assert 'route="none",status="404"' in text
    assert "some" not in text


async def test_the_document_describes_every_route_with_errors_and_examples(world: World) -> None:
    async with world.client(world.app()) as client:
        text = (await client.get("/openapi.json")).text
    document = json.loads(text)
    names = set(document["components"]["schemas"])
    assert set(re.findall(r"#/components/schemas/(\w+)", text)) <= names
    operations = [op for path in document["paths"].values() for op in path.values()]
    assert all("503" in op["responses"] for op in operations)
    assert not any("422" in op["responses"] for op in operations)
    assert document["components"]["securitySchemes"]["API key"]["scheme"] == "bearer"


async def test_the_documents_examples_run_as_they_are(world: World) -> None:
    async with world.client(world.app()) as client:
        document = (await client.get("/openapi.json")).json()
        session_id = await opened(client)
        for path, operations in document["paths"].items():
            for method, operation in operations.items():
                content = operation.get("requestBody", {}).get("content", {})
                for example in content.get("application/json", {}).get("examples", {}).values():
                    url = path.replace("{session_id}", session_id)
                    answer = await client.request(method, url, json=example["value"])
                    assert answer.is_success, (path, example, answer.text)
