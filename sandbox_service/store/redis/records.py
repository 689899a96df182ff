"""Records as they are stored, and back: every value names its own key, which is checked on reading."""

import logging
from collections.abc import Callable, Sequence
from typing import TypeVar

from pydantic import BaseModel

from sandbox_service.domain.values import ExecutionRecord, SessionRecord
from sandbox_service.store.bounds import without_outputs
from sandbox_service.store.encoding import from_json, model_from_json, revived, to_json
from sandbox_service.store.redis.failures import StoreCorrupt, corrupt

logger = logging.getLogger(__name__)

Model = TypeVar("Model", bound=BaseModel)


def decode(kind: type[Model], raw: bytes, name: str, is_its: Callable[[Model], bool]) -> Model:
    """The value that was stored as `name`. Raises StoreCorrupt when it is not."""
    try:
        value = model_from_json(kind, raw)
    except ValueError as error:
        raise mismatch(name, type(error).__name__) from None
    if not is_its(value):
        raise mismatch(name, "it names another key")
    return value


def decode_session(session_id: str, raw: bytes, pending: int) -> SessionRecord:
    record = decode(SessionRecord, raw, f"session:{session_id}", lambda it: it.id == session_id)
    return record.model_copy(update={"pending": pending}) if pending else record


Stored = Sequence[bytes | None]
"""An execution as the scripts answer it: its record, its outputs, whether those gave way."""


def encode_execution(record: ExecutionRecord) -> tuple[bytes, bytes]:
    """The record without its outputs, and those; nothing when there are none."""
    outputs = to_json(record.outputs) if record.outputs else b""
    return to_json(record.model_copy(update={"outputs": []})), outputs


def decode_execution(session_id: str, execution_id: str, stored: Stored) -> ExecutionRecord:
    raw, outputs, gave_way = stored
    name = f"execution:{session_id}:{execution_id}"
    whose = (session_id, execution_id)
    record = decode(ExecutionRecord, raw or b"", name, lambda it: (it.session_id, it.id) == whose)
    if gave_way:
        return without_outputs(record)
    if outputs is None:
        return record
    try:
        return record.model_copy(update={"outputs": list(map(revived, from_json(outputs)))})
    except ValueError:
        raise mismatch(name, "its outputs are no JSON") from None


def mismatch(name: str, reason: str) -> StoreCorrupt:
    """Logged, without what is in it, and to be raised."""
    logger.error("store_corrupt key=%s reason=%s", name, reason)
    return corrupt()
