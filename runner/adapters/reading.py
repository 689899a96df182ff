"""Replies of a model, as the objects of a client library or as plain JSON."""

from collections.abc import Iterable
from typing import Any

Json = dict[str, Any]


def plain_json(value: Any) -> Json:
    """The value as a dictionary, whether it is one or a pydantic model."""
    return value if isinstance(value, dict) else dict(value.model_dump(exclude_none=True))


def plain_items(values: Iterable[Any] | None) -> list[Json]:
    """Each of the values as a dictionary."""
    return [plain_json(value) for value in values or ()]
