"""Signed links: who holds one may read one artifact until a time, without a key."""

import hashlib
import hmac
import math
import os
import re
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlencode

from sandbox_service.domain.errors import PermissionDenied, Unavailable
from sandbox_service.domain.ports import Clock
from sandbox_service.durable_files import sync
from sandbox_service.files.link_marks import LinkMarks, NoMarks
from sandbox_service.files.places import draft_of
from sandbox_service.private_files import make_private_directory, open_private

KEY_BYTES = 32
_EXPIRES = re.compile(r"[0-9]{1,12}", re.ASCII)
_ISSUED = re.compile(r"[0-9]{1,18}", re.ASCII)


def load_or_make_key(path: Path) -> bytes:
    """The signing key in the file `path`, made on the first call; readable by its owner only.

    Two processes that start at once end up with the same key. Raises Unavailable for a file that
    holds no key.
    """
    try:
        return _load(path)
    except FileNotFoundError:
        _make(path)
        return _load(path)


def _load(path: Path) -> bytes:
    key = path.read_bytes()
    if len(key) != KEY_BYTES:
        raise Unavailable(f"{path} holds no signing key.", code="storage_unavailable")
    return key


def _make(path: Path) -> None:
    make_private_directory(path.parent)
    draft = draft_of(path)
    try:
        with open(draft, "xb", opener=open_private) as file:
            file.write(os.urandom(KEY_BYTES))
            file.flush()
            os.fsync(file.fileno())
        os.link(draft, path)  # unlike a rename, never over a key that another process made
        sync(path.parent)
    except FileExistsError:
        return
    finally:
        draft.unlink(missing_ok=True)


class Links:
    """Signs and checks links with HMAC-SHA256 over the artifact's id, the expiry and the time of signing.

    Signing needs no more than the key; only who opens a link asks whether it was revoked.
    """

    def __init__(self, key: bytes, clock: Clock, marks: LinkMarks | None = None) -> None:
        self._key = key
        self._clock = clock
        self._marks = marks or NoMarks()

    def sign(self, artifact_id: str, expires_at: datetime) -> str:
        """The query of a link that holds until `expires_at`: `expires=...&issued=...&signature=...`."""
        expires, issued = str(math.floor(expires_at.timestamp())), str(self._now_us())
        signature = self._signature(artifact_id, expires, issued)
        return urlencode({"expires": expires, "issued": issued, "signature": signature})

    def verify(self, artifact_id: str, expires: str, signature: str, issued: str = "") -> None:
        """Return when the link holds. Raises PermissionDenied: `invalid_link`, `link_expired`."""
        expected = self._signature(artifact_id, expires, issued).encode()
        is_ours = hmac.compare_digest(expected, signature.encode("utf-8", "replace"))
        is_well_formed = _EXPIRES.fullmatch(expires) and _ISSUED.fullmatch(issued)
        if not is_ours or not is_well_formed or int(issued) <= self._marks.of(artifact_id):
            raise PermissionDenied("The link is not valid, or was revoked.", code="invalid_link")
        if int(expires) <= self._clock.now().timestamp():
            expired = datetime.fromtimestamp(int(expires), UTC).isoformat()
            raise PermissionDenied(f"The link has expired at {expired}.", code="link_expired")

    def revoke(self, artifact_id: str) -> None:
        """No link that was signed before opens the artifact any more. Raises Unavailable (disk)."""
        self._marks.renew(artifact_id, self._now_us())

    def _now_us(self) -> int:
        return int(self._clock.now().timestamp() * 1e6)

    def _signature(self, artifact_id: str, expires: str, issued: str) -> str:
        message = f"artifact\n{artifact_id}\n{expires}\n{issued}".encode("utf-8", "replace")
        return hmac.digest(self._key, message, hashlib.sha256).hex()
