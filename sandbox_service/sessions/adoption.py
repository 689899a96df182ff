"""Sessions whose records the store has lost, rebuilt from the labels of their sandboxes."""

import logging

from pydantic import ValidationError

from sandbox_service.domain.errors import Conflict, ServiceError
from sandbox_service.domain.ports import Clock, SandboxLabeller
from sandbox_service.domain.stores import SessionStore
from sandbox_service.domain.values import SandboxRef, SessionRecord, SessionStatus
from sandbox_service.sessions.terms import is_too_old, touched

logger = logging.getLogger(__name__)

LABEL = "record"


class Adoption:
    """Labels the sandboxes of sessions with the record, and takes the record from there when it is nowhere else."""

    def __init__(self, store: SessionStore, labeller: SandboxLabeller, clock: Clock) -> None:
        self._store = store
        self._labeller = labeller
        self._clock = clock

    async def label(self, record: SessionRecord) -> None:
        """Write the record on its sandbox. Without room for it the session lives on unlabelled."""
        if record.sandbox is None:
            return
        try:
            await self._labeller.label(record.sandbox, {LABEL: record.model_dump_json()})
        except OSError as error:
            logger.warning("sandbox_not_labelled session=%s error=%s", record.id, error)

    async def adopt(self, ref: SandboxRef) -> bool:
        """Keep the session that this sandbox is labelled with, if the store knows nothing of it.

        False for a sandbox without such a label, or whose session has ended: it is left over.
        """
        labelled = _record(ref)
        now = self._clock.now()
        if labelled is None or not ref.is_running or is_too_old(labelled, now):
            return False
        try:
            if await self._store.get(labelled.id) is not None:
                return False
            await self._store.create(touched(labelled, now).model_copy(update={"revision": 0}))
        except Conflict:
            return False
        except ServiceError as error:
            logger.warning("session_not_adopted session=%s %s", labelled.id, error.code)
            return True  # not known whether it is left over: look again later
        logger.warning("session_adopted session=%s sandbox=%s", labelled.id, ref.sandbox_id)
        return True


def _record(ref: SandboxRef) -> SessionRecord | None:
    try:
        record = SessionRecord.model_validate_json(ref.labels.get(LABEL, ""))
    except ValidationError:
        return None
    is_its = record.sandbox is not None and record.sandbox.sandbox_id == ref.sandbox_id
    return record if is_its and record.status is SessionStatus.READY else None
