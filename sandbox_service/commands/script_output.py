"""What a script in a sandbox prints, written to this process's own streams as it comes."""

import re
from collections.abc import Mapping
from typing import TextIO

from sandbox_service.client import ExecutionResult, OutputChanged

_COLOUR = re.compile(r"\x1b\[[\d;]*m")
_SEQUENCE = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)?|\x1b[ -/]*[0-~]?"
)
_CONTROL = re.compile(r"[\x00-\x07\x0b\x0c\x0e-\x1a\x1c-\x1f\x7f-\x9f]")


class ScriptOutput:
    """Writes standard output to `out`, and standard error and tracebacks to `err`."""

    def __init__(self, out: TextIO, err: TextIO) -> None:
        self._out = out
        self._err = err
        self._exit_seen = False

    def show(self, change: OutputChanged) -> None:
        """Write what is new; what replaces something shown before is left out."""
        if change.action not in ("append", "extend"):
            return
        node = change.output
        match node.get("output_type"):
            case "stream":
                self._stream(str(node.get("name", "")), _joined(node.get("text")))
            case "error":
                self._error(str(node.get("ename")), str(node.get("evalue")), node)
            case "display_data":
                self._display(node.get("data") or {})

    def end(self, result: ExecutionResult) -> None:
        """Say what ended the script, where it is not the script itself."""
        for notice in result.notices:
            _write(self._err, f"sandbox-service: {notice}\n")
        if result.status != "ok" and not result.notices and result.error is None:
            _write(self._err, f"sandbox-service: the script ended with {result.status}\n")

    def _stream(self, name: str, text: str) -> None:
        if self._exit_seen and "To exit: use 'exit'" in text:
            return  # the kernel's advice to whoever types; a script knows how to end
        _write(self._err if name == "stderr" else self._out, text)

    def _display(self, data: Mapping[str, object]) -> None:
        """What the script shows as text; the text that stands for a picture is none of the script's."""
        has_picture = any(media_type.startswith("image/") for media_type in data)
        if "text/plain" in data and not has_picture:
            _write(self._out, _joined(data["text/plain"]) + "\n")

    def _error(self, name: str, value: str, node: dict[str, object]) -> None:
        if name != "SystemExit":
            traceback = "\n".join(map(str, _list(node.get("traceback"))))
            is_terminal = self._err.isatty()
            _write(self._err, f"{traceback if is_terminal else _SEQUENCE.sub('', traceback)}\n")
            return
        self._exit_seen = True
        if value and value != "None" and not value.lstrip("-").isdecimal():
            _write(self._err, f"{value}\n")


def for_reader(text: str, *, is_terminal: bool) -> str:
    """The text for a file as it is; for a terminal with colours, but nothing else that steers it."""
    if not is_terminal:
        return text
    kept = _SEQUENCE.sub(lambda match: match[0] if _COLOUR.fullmatch(match[0]) else "", text)
    return _CONTROL.sub("", kept)


def _write(stream: TextIO, text: str) -> None:
    stream.write(for_reader(text, is_terminal=stream.isatty()))
    stream.flush()


def _joined(text: object) -> str:
    return "".join(map(str, text)) if isinstance(text, list) else str(text or "")


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []
