"""The only place that chooses HTTP status codes for what goes wrong, and the one error body."""

import logging
import math
from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from sandbox_service.api.answers import json_answer
from sandbox_service.domain.errors import (
    Conflict,
    InvalidRequest,
    NotFound,
    PermissionDenied,
    RateLimited,
    ServiceError,
    SessionGone,
    ShuttingDown,
    TooLarge,
    Unauthenticated,
    Unavailable,
    WorkspaceFull,
)
from sandbox_service.domain.json_values import clean_text

logger = logging.getLogger(__name__)


class MethodNotAllowed(InvalidRequest):
    code = "method_not_allowed"


class BodyStalled(InvalidRequest):
    code = "body_stalled"
    retryable = True


class HeadStalled(InvalidRequest):
    code = "head_stalled"
    retryable = True


class HeadTooLarge(InvalidRequest):
    code = "head_too_large"


class TooManyConnections(Unavailable):
    code = "too_many_connections"


class RangeNotSatisfiable(InvalidRequest):
    code = "range_not_satisfiable"


STATUS: dict[type[ServiceError], int] = {
    InvalidRequest: 400,
    Unauthenticated: 401,
    PermissionDenied: 403,
    NotFound: 404,
    MethodNotAllowed: 405,
    BodyStalled: 408,
    HeadStalled: 408,
    Conflict: 409,
    SessionGone: 410,
    TooLarge: 413,
    RangeNotSatisfiable: 416,
    RateLimited: 429,
    HeadTooLarge: 431,
    ServiceError: 500,
    Unavailable: 503,
    WorkspaceFull: 507,
}

RETRY_UNAVAILABLE_S = 1.0
_LONGEST_PARAM = 128
_MOST_PROBLEMS = 5


def status_of(error: ServiceError) -> int:
    """The status of the nearest class in the error's family."""
    return next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)


def error_body(error: ServiceError, request_id: str) -> dict[str, Any]:
    """The body that every error has."""
    return {
        "error": {
            "type": error.type,
            "code": error.code,
            "message": clean_text(error.message),
            "param": clean_text(error.param) if error.param else None,
            "retryable": error.retryable,
            "request_id": request_id,
        }
    }


def error_answer(error: ServiceError, request_id: str) -> Response:
    headers = {}
    if isinstance(error, Unauthenticated):
        headers["WWW-Authenticate"] = 'Bearer realm="sandbox-service"'
    if isinstance(error, ShuttingDown):
        headers["Connection"] = "close"  # the next try comes to another process
    retry_after_s = error.retry_after_s
    if retry_after_s is None and isinstance(error, Unavailable):
        retry_after_s = RETRY_UNAVAILABLE_S
    if retry_after_s is not None:
        headers["Retry-After"] = str(max(1, math.ceil(retry_after_s)))
    return json_answer(error_body(error, request_id), status_of(error), headers)


def internal_error() -> ServiceError:
    """What a caller is told when we do not know what went wrong."""
    return ServiceError("The service failed. The request id finds the reason in its log.")


def request_id_of(request: Request) -> str:
    return str(request.scope.get("state", {}).get("request_id", ""))


def invalid(error: ValidationError) -> InvalidRequest:
    """A validation error in plain words; `param` names the first field that is wrong."""
    problems: Sequence[Any] = error.errors(include_url=False, include_input=False)
    texts = [_describe(problem) for problem in problems[:_MOST_PROBLEMS]]
    if len(problems) > _MOST_PROBLEMS:
        texts.append(f"and {len(problems) - _MOST_PROBLEMS} more")
    param = _param(problems[0]["loc"])
    code = "invalid_json" if problems[0]["type"] == "json_invalid" else None
    return InvalidRequest("; ".join(texts), param=param, code=code)


def _param(loc: Sequence[str | int]) -> str | None:
    return ".".join(str(part) for part in loc)[:_LONGEST_PARAM] or None


def _describe(problem: Any) -> str:
    param = _param(problem["loc"])
    match problem["type"]:
        case "json_invalid":
            return f"The body is not valid JSON: {problem['ctx']['error']}"
        case "extra_forbidden":
            return f"{param}: there is no such field"
        case "missing":
            return f"{param}: this field is required"
        case "model_type" | "model_attributes_type" if param is None:
            return "The body must be a JSON object"
    text: str = problem["msg"].removeprefix("Value error, ").replace("Input should", "must")
    return f"{param}: {text}" if param else text


def install_error_handlers(app: FastAPI) -> None:
    """Every error that reaches the framework leaves in the one error body."""
    app.add_exception_handler(ServiceError, _on_service_error)
    app.add_exception_handler(HTTPException, _on_http_exception)


async def _on_service_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ServiceError)
    if status_of(error) >= 500:
        logger.warning("request_failed request=%s code=%s", request_id_of(request), error.code)
    return error_answer(error, request_id_of(request))


async def _on_http_exception(request: Request, error: Exception) -> Response:
    """The router's own 404 and 405."""
    assert isinstance(error, HTTPException)
    answer = error_answer(_as_service_error(request, error), request_id_of(request))
    if error.status_code == 405:
        answer.headers["Allow"] = ", ".join(_methods_of(request))
    return answer


def _methods_of(request: Request) -> list[str]:
    """What the path can be called with: the router names the first route's methods only."""
    path = request.scope["path"]
    routes = [route for route in request.app.routes if route.path_regex.match(path)]
    return sorted({method for route in routes for method in route.methods})


def _as_service_error(request: Request, error: HTTPException) -> ServiceError:
    call = f"{request.method} {request.url.path}"
    if error.status_code == 404:
        return NotFound(f"There is no route {call}.", code="route_not_found")
    if error.status_code == 405:
        return MethodNotAllowed(f"The route does not take {call}.")
    return InvalidRequest(str(error.detail))
