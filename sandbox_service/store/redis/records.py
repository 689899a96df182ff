"""Records as they are stored, and back: every value names its own key, which is checked on reading."""

import logging
from collections.abc import Callable
from typing import TypeVar

from pydantic import BaseModel

from sandbox_service.domain.values import ExecutionRecord, SessionRecord
from sandbox_service.store.encoding import model_from_json
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


def decode_execution(session_id: str, execution_id: str, raw: bytes) -> ExecutionRecord:
    return decode(
        ExecutionRecord,
        raw,
        f"execution:{session_id}:{execution_id}",
        lambda it: (it.session_id, it.id) == (session_id, execution_id),
    )


def mismatch(name: str, reason: str) -> StoreCorrupt:
    """Logged, without what is in it, and to be raised."""
    logger.error("store_corrupt key=%s reason=%s", name, reason)
    return corrupt()
