"""Names of workspace files: any bytes, percent-encoded in JSON and in URLs."""

import re
from urllib.parse import quote_from_bytes, unquote_to_bytes

from agent.http import AgentError

_HIDDEN = b".sandbox-upload-"


def encode(name: bytes) -> str:
    """Every byte outside `A-Za-z0-9._~/-` as %XX."""
    return quote_from_bytes(name, safe="/")


def parts_of(encoded: bytes) -> list[bytes]:
    """The parts of a percent-encoded name. Raises AgentError for one that is not clean."""
    parts = unquote_to_bytes(encoded).split(b"/")
    if any(part in (b"", b".", b"..") or b"\0" in part or len(part) > 255 for part in parts):
        raise AgentError("invalid_name", "a name has no empty, '.' or '..' part, and no NUL")
    if len(parts) > 100 or re.match(re.escape(_HIDDEN), parts[-1]):
        raise AgentError("invalid_name", "the name is too deep or reserved")
    return parts


def upload_name(token: str) -> bytes:
    """The name a file has while it is being written."""
    return _HIDDEN + token.encode()


def is_hidden(name: bytes) -> bool:
    """Whether the name is that of a file being written."""
    return name.startswith(_HIDDEN)
