"""What the service refuses, as exceptions: one class for each of its types, its codes at hand."""

import re
from typing import Any

import pytest

from sandbox_service import client
from sandbox_service.client import errors
from sandbox_service.client.errors import ApiError, ClientError, api_error


@pytest.mark.parametrize(
    ("kind", "code", "expected"),
    [
        ("invalid_request_error", "too_large", client.InvalidRequest),
        ("authentication_error", "key_expired", client.Unauthenticated),
        ("permission_error", "permission_denied", client.PermissionDenied),
        ("not_found_error", "file_not_found", client.NotFound),
        ("conflict_error", "session_starting", client.Conflict),
        ("conflict_error", "idempotency_key_reused", client.IdempotencyKeyReused),
        ("invalid_request_error", "idempotency_key_reused", client.IdempotencyKeyReused),
        ("gone_error", "session_expired", client.SessionGone),
        ("rate_limit_error", "queue_full", client.RateLimited),
        ("unavailable_error", "shutting_down", client.Unavailable),
        ("internal_error", "internal_error", ApiError),
        ("a_type_of_tomorrow", "x", ApiError),
    ],
)
def test_a_refusal_has_the_class_of_its_type(
    kind: str, code: str, expected: type[ApiError]
) -> None:
    """And tells what the service told."""
    body = {"type": kind, "code": code, "message": "no", "param": "p", "request_id": "req_1"}
    error = api_error({"error": body | {"retryable": True}}, 418, "7")
    assert type(error) is expected
    assert (error.status, error.code, error.param, error.retryable) == (418, code, "p", True)
    assert (error.retry_after_s, error.request_id, str(error)) == (7.0, "req_1", f"no ({code})")


@pytest.mark.parametrize("body", [None, [], "x", {}, {"error": "x"}, {"detail": "Not Found"}])
def test_a_body_that_is_no_refusal_keeps_the_status(body: Any) -> None:
    """Some proxy in between, and its word on when to come back."""
    error = api_error(body, 503, "2")
    assert (type(error), error.status, error.code, error.retry_after_s) == (
        ApiError, 503, "unknown", 2.0
    )  # fmt: skip


@pytest.mark.parametrize("text", ["Wed, 21 Oct 2026 07:28:00 GMT", "-1", "nan", "inf", "", "٣"])
def test_a_wait_that_is_no_number_of_seconds_is_none(text: str) -> None:
    """Nobody waits for ever on a header's word."""
    assert api_error(None, 429, text).retry_after_s is None


def test_the_tree_is_drawn_as_it_is() -> None:
    """Every class once, below its parent."""
    drawn = re.findall(r"^[│├└─ ]*([A-Z]\w+)", errors.__doc__ or "", re.M)[1:]
    classes = [
        item for item in vars(errors).values()
        if isinstance(item, type) and issubclass(item, ClientError)
    ]  # fmt: skip
    assert drawn == [item.__name__ for item in sorted(classes, key=_place)]
    assert all(hasattr(client, item.__name__) for item in classes)


def _place(kind: type) -> tuple[int, ...]:
    """The order of a tree that is drawn depth first, children in the order of their definition."""
    order = {item: number for number, item in enumerate(vars(errors).values()) if _is_class(item)}
    return tuple(order[step] for step in reversed(kind.__mro__) if step in order)


def _is_class(item: object) -> bool:
    return isinstance(item, type) and issubclass(item, ClientError)
