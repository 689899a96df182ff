"""Values as JSON and back, also those that name files in bytes which are no UTF-8. Pure."""

import json
from typing import Any, TypeVar

import orjson
from pydantic import BaseModel, ValidationError
from pydantic_core import PydanticSerializationError

from sandbox_service.domain.json_values import RawJson
from sandbox_service.domain.values import Output

_RAW = "$json"

Model = TypeVar("Model", bound=BaseModel)


def to_json(value: BaseModel | dict[str, Any] | list[Any]) -> bytes:
    """The quick encoders refuse half a surrogate pair, which stands for such a byte; the slow one does not."""
    try:
        if isinstance(value, BaseModel):
            return value.model_dump_json(fallback=_kept_raw).encode()
        return orjson.dumps(value, default=_kept_raw)
    except (PydanticSerializationError, TypeError):
        plain = value.model_dump() if isinstance(value, BaseModel) else value
        return json.dumps(plain, default=_as_text).encode()


def _kept_raw(value: object) -> dict[str, str]:
    """What nobody looked into is a string in the store, so that nobody has to when it is read."""
    if isinstance(value, RawJson):
        return {_RAW: value.raw.decode()}
    raise TypeError(f"{type(value).__name__} has no JSON form")


def _as_text(value: object) -> dict[str, str] | str:
    return _kept_raw(value) if isinstance(value, RawJson) else str(value)


def revived(node: Output) -> Output:
    """An output node as it was before it was stored."""
    data, metadata = node.get("data"), node.get("metadata")
    if isinstance(data, dict):
        node = {**node, "data": {kind: _revived(value) for kind, value in data.items()}}
    return {**node, "metadata": _revived(metadata)} if metadata else node


def _revived(value: Any) -> Any:
    is_raw = isinstance(value, dict) and value.keys() == {_RAW}
    return RawJson(value[_RAW].encode()) if is_raw else value


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
