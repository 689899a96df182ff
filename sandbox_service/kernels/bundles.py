"""MIME bundles of display messages, made valid for nbformat and fitted to a budget."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from sandbox_service.domain.json_values import RawJson, clean_json, clean_text

_MAX_MIME_TYPE_CHARS = 256
_MAX_MIME_TYPES = 64
_JSON_TYPE = re.compile(r"application/(.*\+)?json\Z")  # as in the schema of nbformat
_TEXT = "text/plain"


Metadata = RawJson | dict[str, Any]


@dataclass(frozen=True, slots=True)
class Bundle:
    """Clean data and metadata, their size in bytes, and whether anything was left out."""

    data: dict[str, Any]
    metadata: Metadata
    size: int
    is_cut: bool


@dataclass(frozen=True, slots=True)
class _Entry:
    mime_type: str
    value: Any
    size: int


def fitted_bundle(content: Mapping[str, Any], room: int) -> Bundle:
    """The bundle of a display message's `content`, in at most `room` bytes.

    What does not fit is left out, the largest first; text/plain is kept before all else, and cut
    only when it alone is too large.
    """
    offered = content.get("data")
    entries = _entries(offered)
    kept, size = _fitting(entries, room)
    metadata, metadata_size = _metadata(content.get("metadata"), room - size)
    data = {e.mime_type: kept[e.mime_type].value for e in entries if e.mime_type in kept}
    offered_count = len(offered) if isinstance(offered, dict) else bool(offered)
    is_whole = len(entries) == offered_count and all(kept.get(e.mime_type) is e for e in entries)
    is_cut = metadata is None or not is_whole
    return Bundle(data, metadata or {}, size + metadata_size, is_cut)


def text_of(value: object) -> str | None:
    """Clean text of a string or of a list of lines; None for anything else."""
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, list) and all(isinstance(line, str) for line in value):
        return clean_text("".join(value))
    return None


def cut_text(text: str, room: int) -> str:
    """The longest start of `text` that takes at most `room` bytes of UTF-8."""
    if room <= 0:
        return ""
    return text[:room].encode()[:room].decode(errors="ignore")


def _entries(data: object) -> list[_Entry]:
    if not isinstance(data, dict):
        return []
    entries: dict[str, _Entry] = {}
    for key, value in list(data.items())[:_MAX_MIME_TYPES]:
        entry = _entry(key, value)
        if entry is not None:
            entries[entry.mime_type] = entry
    return list(entries.values())


def _entry(key: object, value: object) -> _Entry | None:
    if not isinstance(key, str) or not 0 < len(key) <= _MAX_MIME_TYPE_CHARS:
        return None
    mime_type = clean_text(key)
    if not _JSON_TYPE.match(mime_type):
        text = text_of(value)
        return None if text is None else _Entry(mime_type, text, _size(mime_type) + _size(text))
    raw = _raw_json(value)
    return None if raw is None else _Entry(mime_type, raw, _size(mime_type) + len(raw.raw))


def _raw_json(value: object) -> RawJson | None:
    """The value as text, which is all that becomes of it; None for one that nests too deep."""
    if isinstance(value, RawJson):
        return value
    try:
        return RawJson(orjson.dumps(clean_json(value)))
    except ValueError:
        return None


def _fitting(entries: list[_Entry], room: int) -> tuple[dict[str, _Entry], int]:
    kept: dict[str, _Entry] = {}
    left = room
    for entry in sorted(entries, key=lambda e: (e.mime_type != _TEXT, e.size)):
        if entry.size <= left:
            kept[entry.mime_type] = entry
            left -= entry.size
    text = next((entry for entry in entries if entry.mime_type == _TEXT), None)
    if text is not None and _TEXT not in kept and left > len(_TEXT):
        value = cut_text(text.value, left - len(_TEXT))
        kept[_TEXT] = _Entry(_TEXT, value, len(_TEXT) + _size(value))
        left -= kept[_TEXT].size
    return kept, room - left


def _metadata(metadata: object, room: int) -> tuple[Metadata | None, int]:
    """The metadata and its size; None when it had to be left out."""
    if not metadata or not isinstance(metadata, dict | RawJson):
        return {}, 0
    raw = _raw_json(metadata)
    if raw is None or len(raw.raw) > room:
        return None, 0
    return raw, len(raw.raw)


def _size(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())
