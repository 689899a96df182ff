"""Jupyter messages of one execution, reduced to nbformat v4 output nodes. Pure; never raises."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeGuard

from sandbox_service.domain.ports import KernelMessage, MessageGap
from sandbox_service.domain.values import Output
from sandbox_service.kernels.bundles import Bundle, cut_text, fitted_bundle, text_of
from sandbox_service.kernels.errors import error_node, error_size
from sandbox_service.kernels.places import Place, Places

ReplyStatus = Literal["ok", "error", "aborted"]
MAX_OUTPUTS = 2000
_MAX_ERRORS_OVER_BUDGET = 4
_MAX_MARKS = 100
_BUNDLE_BYTES = 32  # what a bundle costs at least, so that empty ones are not free
_MAX_DISPLAY_ID_CHARS = 256
_MAX_COUNT = 2**53


@dataclass(frozen=True, slots=True)
class OutputChange:
    """One step of the outputs, as ExecutionEvent describes it; `output` is None for clear."""

    action: Literal["append", "extend", "replace", "clear"]
    index: int
    output: Output | None = None


class OutputReducer:
    """Holds the outputs of one execution and says how each line changes them.

    `output_bytes` bounds all text and data held at once: what was cleared or replaced takes nothing.
    Up to four error nodes of 64 KiB pass beyond it. `truncated` says that something was left out, and a
    line on stderr where messages of the kernel, or more outputs than `max_outputs`, were.
    """

    def __init__(self, output_bytes: int, max_outputs: int = MAX_OUTPUTS) -> None:
        self.truncated = False
        self.execution_count: int | None = None
        self.reply_status: ReplyStatus | None = None
        self._output_bytes = self._left = output_bytes
        self._errors_over_budget = 0
        self._marks_left = _MAX_MARKS
        self._places = Places(max_outputs)
        self._displays: dict[str, list[Place]] = {}
        self._clear_is_due = False
        self._has_error = False
        self._reply_error: Mapping[str, Any] | None = None

    @property
    def outputs(self) -> list[Output]:
        """The nodes as they are now; those that wait for the end come with `settle`."""
        return self._places.nodes()

    def apply(self, line: KernelMessage | MessageGap) -> list[OutputChange]:
        """Take in one line; returns what it changed, in order."""
        if isinstance(line, MessageGap):
            self.truncated = True
            return self._mark(line)
        reduce = _REDUCERS.get(line.msg_type)
        if reduce is None or not isinstance(line.content, dict):
            return []
        return reduce(self, line.content)

    def settle(self) -> list[OutputChange]:
        """Call at the end: adds what has waited, and the error of the reply if its message never came."""
        changes: list[OutputChange] = []
        if self._reply_error is not None and not self._has_error:
            changes = self._error(self._reply_error)
        return [*changes, *(_appended(place) for place in self._places.list_waiting())]

    def _mark(self, gap: MessageGap) -> list[OutputChange]:
        """Say what is missing, where it was lost; that takes nothing off the budget."""
        if not self._marks_left:
            return []
        self._marks_left -= 1
        text = f"\n[{gap.messages} messages with {gap.size_bytes} bytes were left out here]\n"
        self._left += len(text)
        return self._stream({"name": "stderr", "text": text})

    def _stream(self, content: Mapping[str, Any]) -> list[OutputChange]:
        text = text_of(content.get("text"))
        if not text:
            return []
        changes = self._clear_if_due()
        name = "stderr" if content.get("name") == "stderr" else "stdout"
        before = self._left
        text = self._charged(text)
        if not text:
            return changes
        size = before - self._left
        place = self._places.open_stream(name)
        if place is None:
            return [*changes, *self._add(Place.of_stream(name, text, size))]
        assert place.text is not None
        place.text.write(text)
        place.size += size
        if place.index is None:
            return changes
        return [*changes, OutputChange("extend", place.index, _stream_node(name, text))]

    def _display(self, content: Mapping[str, Any]) -> list[OutputChange]:
        return self._add_bundle(content, {"output_type": "display_data"})

    def _result(self, content: Mapping[str, Any]) -> list[OutputChange]:
        count = content.get("execution_count")
        extra = {"execution_count": count if _is_count(count) else self.execution_count}
        return self._add_bundle(content, {"output_type": "execute_result", **extra})

    def _add_bundle(self, content: Mapping[str, Any], node: Output) -> list[OutputChange]:
        changes = self._clear_if_due()
        before = self._left
        bundle = self._taken_bundle(content)
        if bundle is None:
            return changes
        node = {**node, "data": bundle.data, "metadata": bundle.metadata}
        place = Place(node, before - self._left)
        display_id = _display_id(content)
        if display_id is not None:
            self._displays.setdefault(display_id, []).append(place)
        return [*changes, *self._add(place)]

    def _update_display(self, content: Mapping[str, Any]) -> list[OutputChange]:
        changes = self._clear_if_due()
        places = self._displays.get(_display_id(content) or "", [])
        there = [place for place in places if not place.is_gone]
        if not there:
            return [*changes, *self._display(content)]
        for place in there:
            changes += self._replace(place, content)
        return changes

    def _replace(self, place: Place, content: Mapping[str, Any]) -> list[OutputChange]:
        before = self._left = self._left + place.size
        bundle = self._taken_bundle(content)
        if bundle is None:
            self._left = before - place.size
            return []
        place.output = {**place.output, "data": bundle.data, "metadata": bundle.metadata}
        place.size = before - self._left
        if place.index is None:
            return []
        return [OutputChange("replace", place.index, place.output)]

    def _taken_bundle(self, content: Mapping[str, Any]) -> Bundle | None:
        """The bundle as far as the budget holds it; None when nothing of it is left."""
        if self._left < _BUNDLE_BYTES:
            self.truncated = True
            return None
        bundle = fitted_bundle(content, self._left - _BUNDLE_BYTES)
        self.truncated = self.truncated or bundle.is_cut
        self._left -= bundle.size + _BUNDLE_BYTES
        return None if bundle.is_cut and not bundle.data else bundle

    def _error(self, content: Mapping[str, Any]) -> list[OutputChange]:
        changes = self._clear_if_due()
        node, is_cut = error_node(content)
        self.truncated = self.truncated or is_cut
        size = self._admitted(error_size(node))
        if size is None:
            self.truncated = True
            return changes
        self._has_error = True
        return [*changes, *self._add(Place(node, size))]

    def _admitted(self, size: int) -> int | None:
        """What an error takes of the budget; nothing for the few beyond it, None for the many."""
        if size <= self._left:
            self._left -= size
            return size
        self._errors_over_budget += 1
        return 0 if self._errors_over_budget <= _MAX_ERRORS_OVER_BUDGET else None

    def _clear(self, content: Mapping[str, Any]) -> list[OutputChange]:
        self._clear_is_due = True
        return [] if content.get("wait") is True else self._clear_if_due()

    def _clear_if_due(self) -> list[OutputChange]:
        if not self._clear_is_due:
            return []
        self._clear_is_due = False
        if not len(self._places):
            return []
        self._places.clear()
        self._displays.clear()
        self._left, self._errors_over_budget, self.truncated = self._output_bytes, 0, False
        return [OutputChange("clear", 0)]

    def _input(self, content: Mapping[str, Any]) -> list[OutputChange]:
        count = content.get("execution_count")
        if _is_count(count):
            self.execution_count = count
        return []

    def _reply(self, content: Mapping[str, Any]) -> list[OutputChange]:
        status = content.get("status")
        if status in ("ok", "error", "aborted"):
            self.reply_status = status
        if self.execution_count is None:
            self._input(content)
        if status == "error":
            self._reply_error = content
        return self._pages(content.get("payload"))

    def _pages(self, payload: object) -> list[OutputChange]:
        """What IPython sends to a pager (`len?`) has no other place to be seen: show it."""
        if not isinstance(payload, list):
            return []
        pages = [p for p in payload if isinstance(p, dict) and p.get("source") == "page"]
        return [change for page in pages for change in self._display(page)]

    def _charged(self, text: str) -> str:
        """As much of `text` as the budget holds, taken off it."""
        size = len(text) if text.isascii() else len(text.encode())
        if size > self._left:
            text = cut_text(text, self._left)
            size, self.truncated = len(text.encode()), True
        self._left -= size
        return text

    def _add(self, place: Place) -> list[OutputChange]:
        gone = self._places.add(place)
        if gone is not None:
            self.truncated = True
            self._left += gone.size
        return [] if place.index is None else [_appended(place)]


def _appended(place: Place) -> OutputChange:
    assert place.index is not None
    return OutputChange("append", place.index, place.node())


def _stream_node(name: str, text: str) -> Output:
    return {"output_type": "stream", "name": name, "text": text}


def _is_count(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MAX_COUNT


def _display_id(content: Mapping[str, Any]) -> str | None:
    transient = content.get("transient")
    display_id = transient.get("display_id") if isinstance(transient, dict) else None
    if not isinstance(display_id, str) or not 0 < len(display_id) <= _MAX_DISPLAY_ID_CHARS:
        return None
    return display_id


_REDUCERS = {
    "stream": OutputReducer._stream,
    "display_data": OutputReducer._display,
    "execute_result": OutputReducer._result,
    "update_display_data": OutputReducer._update_display,
    "error": OutputReducer._error,
    "clear_output": OutputReducer._clear,
    "execute_input": OutputReducer._input,
    "execute_reply": OutputReducer._reply,
}
