"""What can go wrong for a caller. Outcomes of the user's own code are results, never errors.

ClientError
├── ServiceUnreachable     no connection, or it broke; nothing is known of the call
├── ProtocolError          the answer is not what the service's contract says
├── StreamBroken           events ended early; `execution_id` and `last_event_id` say where
└── ApiError               the service said no: status, code, message, param, retryable
    ├── InvalidRequest     the call is wrong; `param` names the field
    ├── Unauthenticated    no key, or not a valid one
    ├── NotFound           no such session, file, execution or artifact
    ├── SessionGone        `code` is session_expired, session_closed or session_lost
    ├── RateLimited        `retry_after_s` says when to come back
    └── Unavailable        the service cannot do it now
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


class ClientError(Exception):
    """Any failure of a call to the service."""


class ServiceUnreachable(ClientError):
    """The service could not be reached, or the connection broke."""


class ProtocolError(ClientError):
    """The answer is not what the contract says."""


class StreamBroken(ClientError):
    """The events ended before the execution did; it goes on, and can be followed again."""

    def __init__(self, execution_id: str | None, last_event_id: int) -> None:
        super().__init__(f"the events ended early, after number {last_event_id}")
        self.execution_id = execution_id
        self.last_event_id = last_event_id


@dataclass(frozen=True, slots=True)
class ErrorDetails:
    """The service's error body, with the HTTP status it came under (0 inside a stream)."""

    status: int
    type: str
    code: str
    message: str
    param: str | None = None
    retryable: bool = False
    request_id: str | None = None
    retry_after_s: float | None = None


class ApiError(ClientError):
    """The service refused the call or failed at it."""

    def __init__(self, details: ErrorDetails) -> None:
        super().__init__(f"{details.message} ({details.code})")
        self.details = details

    @property
    def status(self) -> int:
        return self.details.status

    @property
    def code(self) -> str:
        return self.details.code

    @property
    def message(self) -> str:
        return self.details.message

    @property
    def param(self) -> str | None:
        return self.details.param

    @property
    def retryable(self) -> bool:
        return self.details.retryable

    @property
    def retry_after_s(self) -> float | None:
        return self.details.retry_after_s


class InvalidRequest(ApiError):
    """The call itself is wrong, or too large."""


class Unauthenticated(ApiError):
    """No key, or not a valid one."""


class NotFound(ApiError):
    """No such thing, or another tenant's."""


class SessionGone(ApiError):
    """The session is over; its variables are gone, its artifacts remain."""


class RateLimited(ApiError):
    """A limit on use was reached."""


class Unavailable(ApiError):
    """The service cannot do it now."""


_BY_TYPE: Mapping[str, type[ApiError]] = {
    "invalid_request_error": InvalidRequest,
    "authentication_error": Unauthenticated,
    "not_found_error": NotFound,
    "gone_error": SessionGone,
    "rate_limit_error": RateLimited,
    "unavailable_error": Unavailable,
}


def api_error(body: Any, status: int = 0, retry_after: str | None = None) -> ApiError:
    """The exception for an error body; a body that is none becomes a plain ApiError."""
    error = body.get("error") if isinstance(body, dict) else None
    if not isinstance(error, dict):
        return ApiError(
            ErrorDetails(status, "unknown", "unknown", f"the service answered {status}")
        )
    details = ErrorDetails(
        status=status,
        type=str(error.get("type", "unknown")),
        code=str(error.get("code", "unknown")),
        message=str(error.get("message", "")),
        param=error.get("param"),
        retryable=bool(error.get("retryable", False)),
        request_id=error.get("request_id"),
        retry_after_s=_seconds(retry_after),
    )
    return _BY_TYPE.get(details.type, ApiError)(details)


def _seconds(text: str | None) -> float | None:
    try:
        return float(text) if text is not None else None
    except ValueError:
        return None
