"""When the links of an artifact were revoked: those that were signed before do not hold."""

import os
from pathlib import Path
from typing import Protocol

from sandbox_service.domain.errors import InvalidRequest
from sandbox_service.durable_files import put_in_place
from sandbox_service.files.places import LINKS_SUFFIX, draft_of, is_key, place
from sandbox_service.files.threads import storage_error
from sandbox_service.private_files import make_private_directory, write_private


class LinkMarks(Protocol):
    """The time of an artifact's latest revocation, in microseconds of the Unix epoch; 0 before the first."""

    def of(self, artifact_id: str) -> int: ...

    def renew(self, artifact_id: str, now_us: int) -> None: ...


class NoMarks:
    """Links that cannot be revoked."""

    def of(self, artifact_id: str) -> int:
        return 0

    def renew(self, artifact_id: str, now_us: int) -> None:
        raise InvalidRequest("Links cannot be revoked here.")


class DirectoryLinkMarks:
    """Marks as files beside the artifacts' records, which every process that serves them sees at once.

    A mark's time is that of its file.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    def of(self, artifact_id: str) -> int:
        """The time. Raises Unavailable when it cannot be read: a revoked link must not hold then."""
        if not is_key(artifact_id):
            return 0
        try:
            return place(self._root, artifact_id, LINKS_SUFFIX).stat().st_mtime_ns // 1000
        except FileNotFoundError:
            return 0
        except OSError as error:
            raise storage_error(error) from error

    def renew(self, artifact_id: str, now_us: int) -> None:
        """Note a revocation. Raises Unavailable (disk)."""
        path = place(self._root, artifact_id, LINKS_SUFFIX)
        draft = draft_of(path)
        try:
            make_private_directory(path.parent)
            write_private(draft, b"")
            os.utime(draft, ns=(now_us * 1000, now_us * 1000))
            put_in_place(draft, path)
        except OSError as error:
            raise storage_error(error) from error
        finally:
            draft.unlink(missing_ok=True)
