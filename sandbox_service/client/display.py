"""An execution as HTML for a notebook. What came from the sandbox is escaped, or made harmless."""

import re
from collections.abc import Iterable, Iterator
from html import escape
from typing import TYPE_CHECKING, Any

from sandbox_service.client.outputs import Image, Output, error_of, images_of, joined, text_of
from sandbox_service.client.tidy_html import tidy_html

if TYPE_CHECKING:
    from sandbox_service.client.results import Artifact, ExecutionResult

LONGEST_HTML = 1_000_000
"""A longer table is shown as its plain text."""

_TERMINAL_CODES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|.)")
_STDERR_STYLE = ' style="background: #fdd"'


def html_of(result: "ExecutionResult") -> str:
    """Everything printed and shown, in order, then how it ended and the files."""
    shown = [_html_of_output(output) for output in result.outputs]
    return "\n".join(filter(None, [*shown, *_remarks(result), _links(result.artifacts)]))


def last_png(outputs: Iterable[Output]) -> bytes | None:
    """The last picture that is a PNG."""
    images = [image for output in outputs for image in images_of(output)]
    return next((i.content for i in reversed(images) if i.media_type == "image/png"), None)


def _html_of_output(output: Output) -> str:
    match output.get("output_type"):
        case "stream":
            style = _STDERR_STYLE if output.get("name") == "stderr" else ""
            return _pre(text_of(output), style)
        case "error":
            return _pre(_error_text(output), _STDERR_STYLE)
    data = output.get("data")
    return _html_of_bundle(output, data) if isinstance(data, dict) else ""


def _html_of_bundle(output: Output, data: dict[str, Any]) -> str:
    image: Image | None = next(images_of(output), None)
    if image is not None:
        return image._repr_html_()
    html = joined(data.get("text/html", ""))
    if html and len(html) <= LONGEST_HTML:
        return f"<div>{tidy_html(html)}</div>"
    return _pre(text_of(output))


def _error_text(output: Output) -> str:
    error = error_of([output])
    assert error is not None  # its type says so
    return "\n".join(error.traceback) or f"{error.name}: {error.value}"


def _remarks(result: "ExecutionResult") -> Iterator[str]:
    """What the outputs do not say by themselves."""
    said = [] if result.status in ("ok", "error") else [result.status]
    said += result.notices
    if result.state == "reset":
        said.append("the kernel's state was reset: earlier variables are gone")
    if result.truncated:
        said.append("the output was cut")
    for text in said:
        yield f"<p><em>{escape(text)}</em></p>"


def _links(artifacts: Iterable["Artifact"]) -> str:
    items = "".join(f"<li>{_link(artifact)} ({artifact.size} bytes)</li>" for artifact in artifacts)
    return f"<ul>{items}</ul>" if items else ""


def _link(artifact: "Artifact") -> str:
    name = escape(artifact.path)
    if not artifact.url.startswith(("http://", "https://")):
        return name
    return f'<a href="{escape(artifact.url)}" target="_blank" rel="noopener">{name}</a>'


def _pre(text: str, style: str = "") -> str:
    plain = _TERMINAL_CODES.sub("", text)
    return f"<pre{style}>{escape(plain)}</pre>" if plain else ""
