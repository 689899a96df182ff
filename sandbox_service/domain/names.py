"""Names of workspace files: what is a legal path, how it travels, how it is shown.

A path is relative to the workspace, parts divided by `/`, bytes that are not UTF-8 held as
surrogate escapes. Any byte string is a legal part but the empty one, `.`, `..`, and those with NUL.
"""

import re
import urllib.parse

from sandbox_service.domain.errors import InvalidRequest

MAX_PART_BYTES = 255
MAX_PATH_BYTES = 4096
# Control characters, line separators, and marks that turn the direction of what follows.
_UNSEEN = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")
_SURROGATE = re.compile("[\ud800-\udfff]")


def clean_path(raw: str) -> str:
    """The workspace path that a caller named, already URL-decoded with surrogate escapes.

    Raises InvalidRequest with the rule that it breaks.
    """
    try:
        as_bytes = raw.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise _refused("holds characters that are no text") from None
    fault = _fault(as_bytes)
    if fault is not None:
        raise _refused(fault)
    return as_bytes.decode("utf-8", "surrogateescape")


def encode_name(path: str) -> str:
    """The path as it travels to and from the agent: bytes outside `A-Za-z0-9._~/-` as `%XX`."""
    return urllib.parse.quote(path, safe="/", encoding="utf-8", errors="surrogateescape")


def decode_name(name: str) -> str:
    """The path of an encoded name. Raises ValueError for what `encode_name` cannot have made."""
    as_bytes = urllib.parse.unquote_to_bytes(name)
    path = as_bytes.decode("utf-8", "surrogateescape")
    fault = "is not in its encoded form" if encode_name(path) != name else _fault(as_bytes)
    if fault is not None:
        raise ValueError(f"the name {fault}")
    return path


def display_path(path: str) -> str:
    """The path as text for people and JSON: valid Unicode, nothing unseen in it; not reversible."""
    return _UNSEEN.sub(_escape, _SURROGATE.sub("\ufffd", path))


def _escape(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape").decode()


def _refused(fault: str) -> InvalidRequest:
    return InvalidRequest(f"The path {fault}.", param="path")


def _fault(path: bytes) -> str | None:
    """The rule that a path breaks, as the end of a sentence; None for a good one."""
    if not path:
        return "is empty"
    if path.startswith(b"/"):
        return "is absolute; paths are relative to the workspace"
    if len(path) > MAX_PATH_BYTES:
        return f"is longer than {MAX_PATH_BYTES} bytes"
    if b"\0" in path:
        return "holds a NUL byte"
    return _part_fault(path.split(b"/"))


def _part_fault(parts: list[bytes]) -> str | None:
    if b"" in parts:
        return "has an empty part: no `//`, and no `/` at its end"
    if b"." in parts or b".." in parts:
        return "has a `.` or `..` part"
    if max(map(len, parts)) > MAX_PART_BYTES:
        return f"has a part longer than {MAX_PART_BYTES} bytes"
    return None
