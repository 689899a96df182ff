"""What the model sees of an execution: short text, a few pictures, names of files. Pure."""

import base64
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from runner.image_sizes import ImageBounds, NotShowable, sized_image
from runner.links import OPENING
from runner.tables import table_text
from runner.text import first_and_last_lines, head_and_tail, trimmed_traceback
from sandbox_service.client import Artifact, ExecutionResult, Image
from sandbox_service.client.results import images_of, joined
from sandbox_service.client.text import plain, size_text

Output = dict[str, Any]
MOST_NAME_CHARS = 200
IMAGES_NOTE = "The pictures that the code showed, in order:"

# How each picture that a chat endpoint takes begins: one that lies about its type fails the call.
SIGNATURES = {
    "image/png": b"\x89PNG\r\n\x1a\n",
    "image/jpeg": b"\xff\xd8\xff",
    "image/webp": b"RIFF",
    "image/gif": b"GIF8",
}

_WRAPPED = re.compile(r" \\$|\A.* \.\.\. ", re.MULTILINE)
"""What pandas does to a table wider than its page: it breaks the lines, or leaves columns out."""

ENDINGS = {
    "timeout": "The code was stopped: it ran longer than its time limit.",
    "interrupted": "The code was interrupted.",
    "out_of_memory": "The code needed more memory than the sandbox has, and its kernel was killed.",
    "kernel_died": "The Python process ended while the code ran.",
    "lost": "The sandbox failed while the code ran; this is not the code's fault.",
}
STATE_LOST = (
    "The kernel was restarted: variables and imports of earlier calls are gone, files are kept."
)


@dataclass(frozen=True, slots=True)
class ShapeLimits:
    """How much of one execution a model is shown."""

    text_tokens: int = 4_000
    value_tokens: int = 1_500
    value_lines: int = 40
    traceback_tokens: int = 1_500
    images: int = 4
    image: ImageBounds = field(default_factory=ImageBounds)
    files: int = 20


@dataclass(frozen=True, slots=True)
class Shaped:
    """The text of a tool result, and the pictures that go with it."""

    text: str
    images: tuple[Image, ...] = field(default=(), repr=False)


def shape_result(result: ExecutionResult, limits: ShapeLimits | None = None) -> Shaped:
    """The execution as a model should see it. Never carries base64 in its text."""
    limits = limits or ShapeLimits()
    images = _Images(limits)
    printed = [_text_of(output, limits, images) for output in result.outputs]
    body = head_and_tail(_paragraphs(printed), limits.text_tokens)
    remarks = [*_remarks(result), _file_list(result.artifacts, limits.files)]
    text = _paragraphs([body or "(The code printed and returned nothing.)", *remarks])
    return Shaped(text, tuple(images.kept))


def image_message(images: Iterable[Image]) -> dict[str, Any] | None:
    """The chat message that shows pictures to the model; None when there are none.

    It is a user message, since not every endpoint takes pictures in tool messages.
    """
    parts = [_image_part(image) for image in images]
    if not parts:
        return None
    return {"role": "user", "content": [{"type": "text", "text": IMAGES_NOTE}, *parts]}


def data_url(image: Image) -> str:
    """The picture as a `data:` URL, the form in which several protocols take it."""
    return f"data:{image.media_type};base64,{base64.b64encode(image.content).decode()}"


class _Images:
    """Counts the pictures of one execution, and keeps those that may be shown."""

    def __init__(self, limits: ShapeLimits) -> None:
        self.kept: list[Image] = []
        self._limits = limits

    def note(self, image: Image) -> str:
        """Keep the picture if it can be shown; says in brackets what became of it."""
        if image.media_type == "image/svg+xml":
            return "[an SVG picture, shown to the user]"
        if not image.content.startswith(SIGNATURES[image.media_type]):
            return f"[a picture that is not valid {image.media_type}, not shown to you]"
        if len(self.kept) >= self._limits.images:
            return "[one more picture, not shown to you]"
        try:
            shown = sized_image(image, self._limits.image)
        except NotShowable as error:
            return f"[a picture that is {error}, not shown to you]"
        self.kept.append(shown.image)
        return f"[picture {len(self.kept)}, {shown.width} x {shown.height} pixels]"


def _text_of(output: Output, limits: ShapeLimits, images: _Images) -> str:
    kind = output.get("output_type")
    if kind == "stream":
        return plain(joined(output.get("text", "")))
    if kind == "error":
        return _error_text(output, limits)
    data = output.get("data")
    return _bundle_text(data, limits, images, output) if isinstance(data, dict) else ""


def _error_text(output: Output, limits: ShapeLimits) -> str:
    traceback = trimmed_traceback([str(part) for part in output.get("traceback") or ()])
    last_line = plain(f"{output.get('ename', 'Error')}: {output.get('evalue', '')}")
    return head_and_tail(traceback or last_line, limits.traceback_tokens)


def _bundle_text(data: dict[str, Any], limits: ShapeLimits, images: _Images, output: Output) -> str:
    """The best text of a mime bundle: a picture's note, markdown or LaTeX, a table, plain text."""
    for image in images_of(output):
        return images.note(image)
    for media_type in ("text/markdown", "text/latex"):
        if media_type in data:
            return _short(plain(joined(data[media_type])), limits)
    if text := _table_or_plain(data):
        return _short(text, limits)
    return f"[shown to the user: {', '.join(sorted(data))[:200]}]" if data else ""


def _table_or_plain(data: dict[str, Any]) -> str:
    """Plain text, unless it is a table broken into several, or only the name of an object."""
    text = plain(joined(data.get("text/plain", "")))
    is_enough = bool(text) and not text.startswith("<") and not _WRAPPED.search(text)
    if is_enough or "text/html" not in data:
        return text
    return plain(table_text(joined(data["text/html"]))) or text


def _short(text: str, limits: ShapeLimits) -> str:
    return head_and_tail(first_and_last_lines(text, limits.value_lines), limits.value_tokens)


def _remarks(result: ExecutionResult) -> Iterator[str]:
    """The service's own sentences tell more of an ending than its bare name does."""
    yield from result.notices or filter(None, [ENDINGS.get(result.status)])
    if result.state == "reset":
        yield STATE_LOST
    if result.truncated:
        yield "The output was cut: there was more than the sandbox passes on."


def _file_list(artifacts: tuple[Artifact, ...], most: int) -> str:
    if not artifacts:
        return ""
    names = [f"{_on_one_line(file.path)} ({size_text(file.size)})" for file in artifacts[:most]]
    more = f" and {len(artifacts) - most} more" if len(artifacts) > most else ""
    return f"Files given to the user, link them as {OPENING}<name>: {', '.join(names)}{more}"


def _on_one_line(name: str) -> str:
    """A file name is the code's to choose: it must not look like a line of ours."""
    return " ".join(plain(name).split())[:MOST_NAME_CHARS]


def _paragraphs(parts: Iterable[str]) -> str:
    return "\n".join(part.rstrip("\n") for part in parts if part.strip())


def _image_part(image: Image) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": data_url(image)}}
