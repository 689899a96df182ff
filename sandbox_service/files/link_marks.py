"""What the links of an artifact are signed with beside its id, so that they can be revoked."""

import os
from pathlib import Path
from typing import Protocol

from sandbox_service.domain.errors import InvalidRequest
from sandbox_service.files.places import LINKS_SUFFIX, draft_of, is_key, place
from sandbox_service.files.threads import storage_error

MARK_BYTES = 16


class LinkMarks(Protocol):
    """A mark per artifact: empty until its links are revoked, another one after each time."""

    def of(self, artifact_id: str) -> str: ...

    def renew(self, artifact_id: str) -> None: ...


class NoMarks:
    """Links that cannot be revoked."""

    def of(self, artifact_id: str) -> str:
        return ""

    def renew(self, artifact_id: str) -> None:
        raise InvalidRequest("Links cannot be revoked here.")


class DirectoryLinkMarks:
    """Marks as files beside the artifacts' records, which every process that serves them sees at once.

    Random marks, so that two who revoke at the same time need no lock.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    def of(self, artifact_id: str) -> str:
        """The mark. Raises Unavailable when it cannot be read: a revoked link must not hold then."""
        if not is_key(artifact_id):
            return ""
        try:
            return "\n" + place(self._root, artifact_id, LINKS_SUFFIX).read_bytes().hex()
        except FileNotFoundError:
            return ""
        except OSError as error:
            raise storage_error(error) from error

    def renew(self, artifact_id: str) -> None:
        """Give the artifact a fresh mark. Raises Unavailable (disk)."""
        path = place(self._root, artifact_id, LINKS_SUFFIX)
        draft = draft_of(path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            draft.write_bytes(os.urandom(MARK_BYTES))
            draft.replace(path)
        except OSError as error:
            raise storage_error(error) from error
        finally:
            draft.unlink(missing_ok=True)
