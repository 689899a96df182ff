"""How a route is declared, guarded and mounted. FastAPI finds and documents it, no more."""

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from sandbox_service.api.access import ACCESS
from sandbox_service.api.auth import REFUSALS, Gate, Rule
from sandbox_service.api.views import Error
from sandbox_service.tenants.keyring import Principal

Call = Callable[[Request], Awaitable[Response]]

_REASONS = {
    400: "The request is wrong; `param` names what in it.",
    401: "No key, or not a valid one.",
    403: "The key or the link does not give this right.",
    404: "No such thing, or another tenant's.",
    408: "The body stopped coming.",
    409: "Not possible in its present state, or an `Idempotency-Key` that came with another request.",
    410: "The session has ended, or the artifact's time is over.",
    413: "Larger than a limit; the message names it.",
    416: "The range lies outside the file.",
    429: "A limit on use; `Retry-After` says when to come back.",
    500: "The service failed.",
    503: "Not possible now; try again.",
    507: "The workspace is full.",
}
_ALWAYS = (500, 503)
_WITH_KEY = (401, 403, 429)
_PATH_PARAM = re.compile(r"{(\w+)(?::path)?}")


@dataclass(frozen=True)
class Endpoint:
    """A route and its documentation.

    `answer` is a model, or the media type of an answer that is not JSON; `body` likewise.
    """

    method: str
    path: str
    call: Call
    summary: str
    tag: str
    description: str = ""
    status: int = 200
    answer: type[BaseModel] | str | None = None
    body: type[BaseModel] | str | None = None
    examples: Mapping[str, Any] = field(default_factory=dict)
    query: type[BaseModel] | None = None
    errors: tuple[int, ...] = ()
    streams: bool = False


def principal_of(request: Request) -> Principal:
    principal = request.scope["state"]["principal"]
    assert isinstance(principal, Principal)
    return principal


def recheck(request: Request) -> None:
    """For answers that take long: raises what `Gate.authorise` does once the caller's right has ended."""
    request.scope["state"]["recheck"]()


def mount(app: FastAPI, gate: Gate, endpoints: Iterable[Endpoint]) -> None:
    """Adds the endpoints, each behind its rule in the authorisation table."""
    for endpoint in endpoints:
        rule = ACCESS[endpoint.method, endpoint.path]
        app.router.add_api_route(
            endpoint.path,
            endpoint.call,
            methods=[endpoint.method],
            name=f"{endpoint.method} {endpoint.path}",
            operation_id=endpoint.call.__name__,
            include_in_schema=endpoint.method != "HEAD",
            status_code=endpoint.status,
            response_class=Response,
            summary=endpoint.summary,
            description=endpoint.description,
            tags=[endpoint.tag],
            responses=_responses(endpoint, rule),
            openapi_extra=_extra(endpoint, rule),
        )
        route = app.router.routes[-1]
        assert isinstance(route, APIRoute)
        _take_over(route, Guarded(gate, rule, endpoint.call))


def _take_over(route: APIRoute, handler: ASGIApp) -> None:
    """Calls `handler` directly, and lets a path parameter hold line feeds: file names may."""
    route.app = handler
    route.path_regex = re.compile(route.path_regex.pattern.removesuffix("$") + r"\Z", re.DOTALL)


class Guarded:
    """One route's handler, behind its rule: nothing of the request is read before it is let in."""

    def __init__(self, gate: Gate, rule: Rule, call: Call) -> None:
        self._gate = gate
        self._rule = rule
        self._call = call

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive, send)
        state = scope.setdefault("state", {})
        try:
            state["principal"] = await self._gate.let_in(self._rule, request)
            state["recheck"] = partial(self._gate.authorise, self._rule, request)
            response = await self._call(request)
            await response(scope, receive, send)
        except REFUSALS as error:
            self._gate.note_refusal(request, error)
            raise


def _responses(endpoint: Endpoint, rule: Rule) -> dict[int | str, dict[str, Any]]:
    keyed = _WITH_KEY if rule.scope is not None else ()
    of_body = (408,) if endpoint.body is not None else ()
    statuses = sorted({*endpoint.errors, *keyed, *of_body, *_ALWAYS})
    errors: dict[int | str, dict[str, Any]] = {
        status: {"description": _REASONS[status], "content": json_content(Error)}
        for status in statuses
    }
    return {endpoint.status: _success(endpoint), **errors}


def _success(endpoint: Endpoint) -> dict[str, Any]:
    success: dict[str, Any] = {"description": "Done."}
    if isinstance(endpoint.answer, str):
        success["content"] = {endpoint.answer: {"schema": _body_schema(endpoint.answer)}}
    elif endpoint.answer is not None:
        success["content"] = json_content(endpoint.answer)
    if endpoint.streams:
        stream = {"text/event-stream": {"schema": _SSE_EVENT}}
        success["content"] = success.get("content", {}) | stream
    return success


def _body_schema(media_type: str) -> dict[str, Any]:
    if media_type.endswith("json"):
        return {"type": "object"}
    return {"type": "string", "format": "binary"}


_SSE_EVENT: dict[str, Any] = {
    "type": "object",
    "description": "Each event of the stream; `data` is JSON.",
    "properties": {name: {"type": "string"} for name in ("id", "event", "data")},
    "required": ["event", "data"],
}


def json_content(model: type[BaseModel]) -> dict[str, Any]:
    """A reference, not the model: the framework would build validators that nobody calls."""
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{model.__name__}"}}}


def _extra(endpoint: Endpoint, rule: Rule) -> dict[str, Any]:
    parameters = [*_path_parameters(endpoint), *_query(endpoint), *_headers(endpoint)]
    extra: dict[str, Any] = {"parameters": parameters}
    extra["security"] = [] if rule.scope is None else [{"API key": []}]
    if endpoint.body is not None:
        extra["requestBody"] = _request_body(endpoint)
    return extra


def _path_parameters(endpoint: Endpoint) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in _PATH_PARAM.findall(endpoint.path)
    ]


def _query(endpoint: Endpoint) -> list[dict[str, Any]]:
    if endpoint.query is None:
        return []
    properties = _properties_of(endpoint.query)
    return [{"name": name, "in": "query", "schema": schema} for name, schema in properties.items()]


@cache
def _properties_of(model: type[BaseModel]) -> dict[str, Any]:
    properties: dict[str, Any] = model.model_json_schema()["properties"]
    return properties


def _headers(endpoint: Endpoint) -> list[dict[str, Any]]:
    if endpoint.method != "POST":
        return []
    return [
        {
            "name": "Idempotency-Key",
            "in": "header",
            "schema": {"type": "string", "pattern": "^[!-~]{1,255}$"},
            "description": "The same key again has no second effect and gets the same answer.",
        }
    ]


def _request_body(endpoint: Endpoint) -> dict[str, Any]:
    if isinstance(endpoint.body, str):
        return {"required": True, "content": {endpoint.body: _BODIES[endpoint.body]}}
    assert endpoint.body is not None
    content = json_content(endpoint.body)
    content["application/json"]["examples"] = {
        name: {"value": value} for name, value in endpoint.examples.items()
    }
    return {"content": content}


_BODIES: dict[str, dict[str, Any]] = {
    "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
    "multipart/form-data": {
        "schema": {
            "type": "object",
            "properties": {
                "path": {"type": "string", "description": "The folder; comes before the files."},
                "file": {"type": "array", "items": {"type": "string", "format": "binary"}},
            },
        }
    },
}
