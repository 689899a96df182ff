"""The lines that an agent sends of an execution, checked as data from a stranger (PROTOCOL.md)."""

import asyncio
import json
import re
from collections.abc import Mapping
from typing import Any, Literal

import orjson

from sandbox_service.domain.errors import AgentViolation
from sandbox_service.domain.json_scan import Span, Steps, Unreadable, members, text
from sandbox_service.domain.json_values import RawJson, clean_json
from sandbox_service.domain.names import decode_name
from sandbox_service.domain.ports import (
    ChangedFile,
    ExecutionEnd,
    ExecutionLine,
    KernelMessage,
    MessageGap,
)

MAX_CHANGED = 1000
MAX_LINE_DEPTH = 256
_STEP_BYTES = 64 * 1024
_MOST_VALUES = 20_000
_MOST_MEMBERS = 64
_LARGEST_PART = 256 * 1024
_MAX_INT = 2**53
_MAX_NAME_CHARS = 128
_MAX_INT_CHARS = 20
_IOPUB_MESSAGE = re.compile(
    rb'\s*\{\s*"seq"\s*:\s*([1-9][0-9]{0,18})\s*,\s*"kind"\s*:\s*"message"\s*,\s*"channel"\s*:\s*"iopub"'
)
_GAP_REASONS = frozenset({"budget", "ring", "message_too_large"})


def parse_line(raw: bytes) -> ExecutionLine | None:
    """One line of an execution; None for a ping. Raises AgentViolation for anything malformed.

    An iopub message whose parts are not JSON, or nest too deep, is a gap `unreadable`.
    """
    try:
        line = _object(_decoded(raw), "line")
    except (ValueError, RecursionError):
        return _unreadable(raw)
    match line.get("kind"):
        case "message":
            return _message(line)
        case "gap":
            return _gap(line)
        case "end":
            return _end(line)
        case "ping":
            return None
    raise _violation("kind")


async def read_line(raw: bytes) -> ExecutionLine | None:
    """As `parse_line`; of a line that would become very many values the bundle stays the text that it is.

    Others get their turn meanwhile.
    """
    if not _is_dense(raw):
        return parse_line(raw)
    steps = _dense_line(raw)
    try:
        while True:
            next(steps)
            await asyncio.sleep(0)
    except StopIteration as ended:
        line: KernelMessage = ended.value
        return line
    except Unreadable:
        return _unreadable(raw)


def _is_dense(raw: bytes) -> bool:
    values = 0
    for start in range(0, len(raw), _STEP_BYTES) if len(raw) > _STEP_BYTES else ():
        piece = raw[start : start + _STEP_BYTES]
        values += len(piece) - len(piece.translate(None, b",[{"))
        if values > _MOST_VALUES:
            return True
    return False


def _dense_line(raw: bytes) -> Steps[KernelMessage]:
    """Only messages of a kernel can be dense: all else has a bounded number of parts."""
    line = yield from members(raw, 0, _MOST_MEMBERS, {"content": {"data": {}}})
    parts = {name: _small(raw, span) for name, span in _members(line).items() if name != "content"}
    if parts.get("kind") != "message":
        raise _violation("kind")
    content = _members(line).get("content")
    if content is None or content.members is None:
        raise _violation("content")
    parts["content"] = yield from _dense_content(raw, content)
    parts["metadata"] = {}
    return _message(parts)


def _dense_content(raw: bytes, content: Span) -> Steps[dict[str, Any]]:
    made: dict[str, Any] = {}
    for name, span in _members(content).items():
        if name == "data" and span.members is not None:
            made[name] = {}
            for kind, value in span.members.items():
                made[name][kind] = yield from _text_or_raw(raw, value)
        elif name == "metadata":
            made[name] = yield from _text_or_raw(raw, span)
        elif raw[span.start : span.start + 1] == b'"':
            made[name] = yield from text(raw, span.start)
        else:
            made[name] = _small(raw, span)
    return made


def _text_or_raw(raw: bytes, span: Span) -> Steps[str | RawJson]:
    if raw[span.start : span.start + 1] == b'"':
        return (yield from text(raw, span.start))
    return RawJson(raw[span.start : span.end].replace(b"\r", b" ").replace(b"\n", b" "))


def _members(span: Span) -> Mapping[str, Span]:
    return span.members or {}


def _small(raw: bytes, span: Span) -> Any:
    """The value; None for one that is too large to be made here."""
    if span.end - span.start > _LARGEST_PART:
        return None
    return orjson.loads(raw[span.start : span.end])


def _decoded(raw: bytes) -> Any:
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError:
        return _decoded_leniently(raw)


def _decoded_leniently(raw: bytes) -> Any:
    """For what kernels do send: NaN, infinities, lone surrogates, bytes that are not UTF-8."""
    text = raw.decode("utf-8", "replace")
    return clean_json(json.loads(text, parse_int=_int), MAX_LINE_DEPTH)


def _unreadable(raw: bytes) -> MessageGap:
    """The agent passes a message's parts on unparsed; that they are not JSON is not its fault."""
    start = _IOPUB_MESSAGE.match(raw)
    if start is None or int(start[1]) > _MAX_INT:
        raise AgentViolation("The agent sent a line that is not JSON.")
    return MessageGap(int(start[1]), "unreadable", messages=1, size_bytes=len(raw))


def _int(digits: str) -> int | float:
    return int(digits) if len(digits) <= _MAX_INT_CHARS else float(digits)


def _message(line: dict[str, Any]) -> KernelMessage:
    header = _object(line.get("header"), "header")
    return KernelMessage(
        seq=_seq(line),
        channel=_channel(line.get("channel")),
        msg_type=_name(header.get("msg_type"), "msg_type"),
        content=_object(line.get("content"), "content"),
        metadata=_object(line.get("metadata", {}), "metadata"),
    )


def _channel(value: object) -> Literal["iopub", "shell"]:
    if value == "iopub":
        return "iopub"
    if value == "shell":
        return "shell"
    raise _violation("channel")


def _gap(line: dict[str, Any]) -> MessageGap:
    reason = _name(line.get("reason"), "reason")
    if reason not in _GAP_REASONS:
        raise _violation("reason")
    return MessageGap(
        seq=_seq(line),
        reason=reason,
        messages=_int_from(0, line.get("messages"), "messages"),
        size_bytes=_int_from(0, line.get("bytes"), "bytes"),
        msg_type=_name(line.get("msg_type") or "", "msg_type"),
    )


def _end(line: dict[str, Any]) -> ExecutionEnd:
    how = line.get("exit")
    exited = {} if how is None else _object(how, "exit")
    truncated = line.get("changes_truncated", False)
    if not isinstance(truncated, bool):
        raise _violation("changes_truncated")
    return ExecutionEnd(
        seq=_seq(line),
        reason=_end_reason(line.get("reason")),
        incarnation=_int_from(1, line.get("incarnation"), "incarnation"),
        exit_signal=_optional_int(exited.get("signal"), "exit.signal"),
        exit_code=_optional_int(exited.get("code"), "exit.code"),
        changed=_changed(line.get("changed", [])),
        changes_truncated=truncated,
    )


def _end_reason(value: object) -> Literal["finished", "kernel_died"]:
    if value == "finished":
        return "finished"
    if value == "kernel_died":
        return "kernel_died"
    raise _violation("reason")


def _changed(value: object) -> tuple[ChangedFile, ...]:
    if not isinstance(value, list) or len(value) > MAX_CHANGED:
        raise _violation("changed")
    return tuple(_changed_file(entry) for entry in value)


def _changed_file(value: object) -> ChangedFile:
    entry = _object(value, "changed")
    name = entry.get("name")
    if not isinstance(name, str):
        raise _violation("changed.name")
    try:
        path = decode_name(name)
    except ValueError:
        raise _violation("changed.name") from None
    return ChangedFile(path, _int_from(0, entry.get("size"), "changed.size"))


def _seq(line: dict[str, Any]) -> int:
    return _int_from(1, line.get("seq"), "seq")


def _int_from(low: int, value: object, field: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= _MAX_INT:
        raise _violation(field)
    return value


def _optional_int(value: object, field: str) -> int | None:
    return None if value is None else _int_from(-_MAX_INT, value, field)


def _name(value: object, field: str) -> str:
    if not isinstance(value, str) or len(value) > _MAX_NAME_CHARS:
        raise _violation(field)
    return value


def _object(value: object, field: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _violation(field)
    return value


def _violation(field: str) -> AgentViolation:
    return AgentViolation(f"The agent sent a line with a missing or malformed `{field}`.")
