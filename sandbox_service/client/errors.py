"""What can go wrong for a caller. Outcomes of the user's own code are results, never errors.

ClientError
├── ServiceUnreachable         no connection, or it broke; `was_sent` says if the call went out
├── ProtocolError              the answer is not what the service's contract says
├── StreamBroken               events ended early; `execution_id`, `last_event_id` say where
└── ApiError                   the service said no: status, code, message, param, retryable
    ├── InvalidRequest         invalid_request, invalid_json, too_large, workspace_full, ...;
    │                          `param` names the field
    ├── Unauthenticated        missing_api_key, invalid_api_key, key_expired, key_revoked
    ├── PermissionDenied       permission_denied, invalid_link, link_expired
    ├── NotFound               not_found, session_not_found, file_not_found, route_not_found, ...
    ├── Conflict               conflict, session_starting: not in a state for this
    │   └── IdempotencyKeyReused   idempotency_key_reused: the key was sent with another body
    ├── SessionGone            session_expired, session_closed, session_lost, artifact_expired
    ├── RateLimited            rate_limited, session_limit, queue_full; `retry_after_s` says when
    └── Unavailable            unavailable, shutting_down, store_unavailable, engine_unavailable,
                               runtime_unavailable, sandbox_start_failed, sandbox_lost, ...
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


class ClientError(Exception):
    """Any failure of a call to the service."""


class ServiceUnreachable(ClientError):
    """The service could not be reached, or the connection broke."""

    def __init__(self, message: str, *, was_sent: bool = True) -> None:
        super().__init__(message)
        self.was_sent = was_sent
        """False when the call certainly did not arrive."""


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

    @property
    def request_id(self) -> str | None:
        """What finds the call in the service's log."""
        return self.details.request_id


class InvalidRequest(ApiError):
    """The call itself is wrong, or too large."""


class Unauthenticated(ApiError):
    """No key, or not a valid one."""


class PermissionDenied(ApiError):
    """A valid key, or link, without the right to this."""


class NotFound(ApiError):
    """No such thing, or another tenant's."""


class Conflict(ApiError):
    """The thing is not in a state for this."""


class IdempotencyKeyReused(Conflict):
    """The same Idempotency-Key was sent before with another body; nothing was done."""


class SessionGone(ApiError):
    """The session is over; its variables are gone, its artifacts remain."""


class RateLimited(ApiError):
    """A limit on use was reached."""


class Unavailable(ApiError):
    """The service cannot do it now."""


_BY_TYPE: Mapping[str, type[ApiError]] = {
    "invalid_request_error": InvalidRequest,
    "authentication_error": Unauthenticated,
    "permission_error": PermissionDenied,
    "not_found_error": NotFound,
    "conflict_error": Conflict,
    "gone_error": SessionGone,
    "rate_limit_error": RateLimited,
    "unavailable_error": Unavailable,
}
_BY_CODE: Mapping[str, type[ApiError]] = {"idempotency_key_reused": IdempotencyKeyReused}


def api_error(body: Any, status: int = 0, retry_after: str | None = None) -> ApiError:
    """The exception for an error body; a body that is none becomes a plain ApiError."""
    error = body.get("error") if isinstance(body, dict) else None
    if not isinstance(error, dict):
        return ApiError(_details_without_body(status, retry_after))
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
    kind = _BY_CODE.get(details.code) or _BY_TYPE.get(details.type, ApiError)
    return kind(details)


def _details_without_body(status: int, retry_after: str | None) -> ErrorDetails:
    """Some proxy between us and the service."""
    message = f"the service answered {status}"
    return ErrorDetails(status, "unknown", "unknown", message, retry_after_s=_seconds(retry_after))


def _seconds(text: str | None) -> float | None:
    """Whole seconds, as the service sends them; a date is not understood."""
    return float(text) if text is not None and text.isascii() and text.isdecimal() else None
