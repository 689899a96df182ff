"""JSON answers, made once as bytes."""

from collections.abc import Mapping
from typing import Any

import orjson
from starlette.responses import Response

from sandbox_service.domain.json_values import embedded


def dumps(value: Any) -> bytes:
    """`value` as JSON; times are RFC 3339 UTC, NaN is null."""
    return orjson.dumps(value, default=embedded, option=orjson.OPT_UTC_Z)


def json_answer(
    value: Any, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    return Response(dumps(value), status, headers, media_type="application/json")
