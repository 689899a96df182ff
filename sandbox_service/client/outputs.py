"""Notebook output nodes (nbformat v4): their text, their pictures, the exception. Pure."""

import base64
import binascii
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

Output = dict[str, Any]
"""An nbformat v4 output node."""

IMAGE_SUFFIXES = {
    "image/png": ".png",
    "image/jpeg": ".jpg",
    "image/webp": ".webp",
    "image/gif": ".gif",
    "image/svg+xml": ".svg",
}
IMAGE_TYPES = tuple(IMAGE_SUFFIXES)
"""Best first."""


@dataclass(frozen=True, slots=True)
class Image:
    """A picture that the code showed. A notebook shows it."""

    media_type: str
    content: bytes = field(repr=False)

    def _repr_png_(self) -> bytes | None:
        return self.content if self.media_type == "image/png" else None

    def _repr_jpeg_(self) -> bytes | None:
        return self.content if self.media_type == "image/jpeg" else None

    def _repr_html_(self) -> str:
        return f'<img alt="" style="max-width: 100%" src="{self.data_url}">'

    @property
    def suffix(self) -> str:
        """What a file of it ends with."""
        return IMAGE_SUFFIXES[self.media_type]

    @property
    def data_url(self) -> str:
        """The picture as a URL. What is shown from one runs no script, SVG included."""
        return f"data:{self.media_type};base64,{base64.b64encode(self.content).decode()}"


@dataclass(frozen=True, slots=True)
class ErrorOutput:
    """The exception that ended the code; `traceback` may carry terminal colours."""

    name: str
    value: str
    traceback: tuple[str, ...] = field(repr=False)


def joined(text: Any) -> str:
    """The text of a notebook's multi-line string: a string, or a list of them."""
    return "".join(map(str, text)) if isinstance(text, list) else str(text)


def text_of(output: Output) -> str:
    """What the node printed or showed, as plain text."""
    if output.get("output_type") == "stream":
        return joined(output.get("text", ""))
    data = output.get("data")
    if isinstance(data, dict) and "text/plain" in data:
        return joined(data["text/plain"]) + "\n"
    return ""


def images_of(output: Output) -> Iterator[Image]:
    """The picture of an output node in its best format, or nothing."""
    data = output.get("data")
    if not isinstance(data, dict):
        return
    for media_type in IMAGE_TYPES:
        if media_type in data:
            content = _decoded(media_type, data[media_type])
            if content is not None:
                yield Image(media_type, content)
            return


def error_of(outputs: Iterable[Output]) -> ErrorOutput | None:
    """The first exception among the nodes."""
    for output in outputs:
        if output.get("output_type") == "error":
            traceback = tuple(str(line) for line in output.get("traceback") or ())
            name, value = str(output.get("ename", "")), str(output.get("evalue", ""))
            return ErrorOutput(name, value, traceback)
    return None


def _decoded(media_type: str, data: Any) -> bytes | None:
    text = joined(data)
    if media_type == "image/svg+xml":
        return text.encode("utf-8", "replace")
    try:
        return base64.b64decode(text) or None
    except (binascii.Error, ValueError):
        return None
