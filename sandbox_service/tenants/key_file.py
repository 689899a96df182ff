"""The key file: read by the service as soon as it changes, written by one process at a time."""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from pydantic import ValidationError

from sandbox_service.domain.errors import NotFound, Unavailable
from sandbox_service.domain.quota_rules import TenantLimits
from sandbox_service.durable_files import put_in_place
from sandbox_service.private_files import make_private_directory, open_private
from sandbox_service.tenants.records import FreshKey, KeyBook, KeyRecord

FILE_NAME = "keys.json"
_OTHERS_MAY_WRITE = 0o022
_Mark = tuple[int, int, int]
_NO_FILE: _Mark = (0, 0, 0)


class KeyFile:
    """Keys and quotas of all tenants, as one JSON file that its owner alone can read."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock_path = path.with_name(path.name + ".lock")
        self._mark: _Mark = _NO_FILE
        self._book = KeyBook()

    def book(self) -> KeyBook:
        """What the file holds now; costs one `stat` while it does not change.

        A missing file holds nothing. Raises Unavailable for one that cannot be read or trusted.
        """
        mark = self._look()
        if mark != self._mark:
            self._book = KeyBook() if mark == _NO_FILE else self._read()
            self._mark = mark
        return self._book

    def add(self, fresh: FreshKey) -> None:
        """Keep a new key's record."""
        self._change(lambda book: book.model_copy(update={"keys": (*book.keys, fresh.record)}))

    def revoke(self, key_id: str, now: datetime) -> KeyRecord:
        """Mark a key as revoked from `now` on; one that is revoked stays as it is. Raises NotFound."""

        def revoked(book: KeyBook) -> KeyBook:
            if all(record.id != key_id for record in book.keys):
                raise NotFound(f"No key {key_id}.", param="id")
            keys = tuple(_revoked(r, now) if r.id == key_id else r for r in book.keys)
            return book.model_copy(update={"keys": keys})

        book = self._change(revoked)
        return next(record for record in book.keys if record.id == key_id)

    def set_quotas(self, tenant: str, limits: TenantLimits | None) -> None:
        """Give a tenant limits of its own in place of the defaults; None takes them away."""

        def changed(book: KeyBook) -> KeyBook:
            others = {name: kept for name, kept in book.quotas.items() if name != tenant}
            quotas = others if limits is None else {**others, tenant: limits}
            return book.model_copy(update={"quotas": quotas})

        self._change(changed)

    def _change(self, change: Callable[[KeyBook], KeyBook]) -> KeyBook:
        try:
            with self._locked():
                book = change(self.book())
                self._write(book)
        except OSError as error:
            raise _unusable(self._path, error.strerror or "it cannot be written") from error
        return book

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """One writer at a time: nobody's change is lost under another's."""
        make_private_directory(self._path.parent)
        with open(open_private(self._lock_path, os.O_RDWR)) as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _write(self, book: KeyBook) -> None:
        draft = self._path.with_name(f"{self._path.name}.{os.urandom(6).hex()}.draft")
        try:
            with open(open_private(draft, os.O_WRONLY | os.O_EXCL), "wb") as file:
                file.write(book.model_dump_json(indent=1, exclude_unset=True).encode())
            put_in_place(draft, self._path)
        finally:
            draft.unlink(missing_ok=True)

    def _look(self) -> _Mark:
        try:
            seen = os.stat(self._path)
        except FileNotFoundError:
            return _NO_FILE
        except OSError as error:
            raise _unusable(self._path, error.strerror or "it cannot be read") from error
        return seen.st_mtime_ns, seen.st_ino, seen.st_size

    def _read(self) -> KeyBook:
        """A file that others could have written gives nobody a right."""
        try:
            with self._path.open("rb") as file:
                about = os.fstat(file.fileno())
                if about.st_mode & _OTHERS_MAY_WRITE or about.st_uid not in (0, os.geteuid()):
                    raise _unusable(self._path, "others than its owner can write it")
                return KeyBook.model_validate_json(file.read())
        except ValidationError as error:
            raise _unusable(self._path, "it is damaged") from error
        except OSError as error:
            raise _unusable(self._path, error.strerror or "it cannot be read") from error


def _revoked(record: KeyRecord, now: datetime) -> KeyRecord:
    if record.revoked_at is not None:
        return record
    return record.model_copy(update={"revoked_at": now})


def _unusable(path: Path, reason: str) -> Unavailable:
    return Unavailable(f"The key file {path.name} is not used: {reason}.", code="keys_unavailable")
