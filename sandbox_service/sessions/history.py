"""The executions of each session, kept within bounds until the session's record goes."""

from collections import OrderedDict
from collections.abc import Sequence

from sandbox_service.domain.values import ExecutionRecord
from sandbox_service.sessions.journal import Journal

FULL_JOURNALS = 16


class ExecutionHistory:
    """Journals by session, oldest first.

    Of the latest FULL_JOURNALS finished executions every event is kept, of older ones the result;
    beyond `length` the oldest finished executions are forgotten.
    """

    def __init__(self, length: int) -> None:
        self._length = length
        self._sessions: dict[str, OrderedDict[str, Journal]] = {}

    def add(self, journal: Journal) -> None:
        journals = self._sessions.setdefault(journal.record.session_id, OrderedDict())
        journals[journal.record.id] = journal
        self._trim(journals)

    def find(self, session_id: str, execution_id: str) -> Journal | None:
        return self._journals(session_id).get(execution_id)

    def records(self, session_id: str) -> Sequence[ExecutionRecord]:
        return [journal.record for journal in self._journals(session_id).values()]

    def _journals(self, session_id: str) -> OrderedDict[str, Journal]:
        return self._sessions.get(session_id) or OrderedDict()

    def forget(self, session_id: str) -> None:
        self._sessions.pop(session_id, None)

    def _trim(self, journals: OrderedDict[str, Journal]) -> None:
        if len(journals) > FULL_JOURNALS:
            aged = list(journals.values())[-FULL_JOURNALS - 1]
            if aged.is_final:
                aged.forget_events()
        while len(journals) > self._length and next(iter(journals.values())).is_final:
            journals.popitem(last=False)
