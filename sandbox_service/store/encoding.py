"""Values as JSON and back, also those that name files in bytes which are no UTF-8. Pure."""

import json
from typing import Any, TypeVar

import orjson
from pydantic import BaseModel, ValidationError
from pydantic_core import PydanticSerializationError

Model = TypeVar("Model", bound=BaseModel)


def to_json(value: BaseModel | dict[str, Any] | list[Any]) -> bytes:
    """The quick encoders refuse half a surrogate pair, which stands for such a byte; the slow one does not."""
    try:
        if isinstance(value, BaseModel):
            return value.model_dump_json().encode()
        return orjson.dumps(value)
    except (PydanticSerializationError, TypeError):
        plain = value.model_dump() if isinstance(value, BaseModel) else value
        return json.dumps(plain, default=str).encode()


def from_json(raw: bytes) -> Any:
    """Raises ValueError."""
    try:
        return orjson.loads(raw)
    except ValueError:
        return json.loads(raw)


def model_from_json(kind: type[Model], raw: bytes) -> Model:
    """Raises ValueError."""
    try:
        return kind.model_validate_json(raw)
    except ValidationError:
        return kind.model_validate(json.loads(raw))
