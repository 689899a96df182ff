"""A workspace file as a tool result: text, a picture, or the file itself, each of bounded size."""

import base64
import mimetypes
from dataclasses import dataclass
from urllib.parse import quote

from mcp_types import (
    BlobResourceContents,
    CallToolResult,
    ContentBlock,
    EmbeddedResource,
    ResourceLink,
    TextContent,
)

from sandbox_service.client import FileInfo
from sandbox_service.client.text import size_text
from sandbox_service.mcp.answers import ReadAnswer
from sandbox_service.mcp.pictures import content_of, is_showable, media_type_of
from sandbox_service.mcp.shape import session_line
from sandbox_service.mcp.text import short

MOST_READ_BYTES = 8 * 1024 * 1024
"""Larger files are not fetched at all."""
MOST_TEXT_CHARS = 20_000
MOST_EMBEDDED_BYTES = 500_000
"""Clients refuse messages above one MiB, and base64 adds a third."""


@dataclass(frozen=True, slots=True)
class Found:
    """A file of a session, and where it is behind the service's own key."""

    session_id: str
    path: str
    size: int
    url: str

    @property
    def media_type(self) -> str:
        """By its name; what the content says counts more where it is known."""
        return mimetypes.guess_type(self.path)[0] or "application/octet-stream"

    def answer(self, kind: str, media_type: str = "", text: str = "") -> ReadAnswer:
        """The structured content of the result."""
        return ReadAnswer.model_validate(
            {
                "session_id": self.session_id,
                "path": self.path,
                "size": self.size,
                "media_type": media_type or self.media_type,
                "kind": kind,
                "text": text,
            }
        )


def found(info: FileInfo, session_id: str, base_url: str) -> Found:
    """The file, with its address in the service."""
    path = quote(info.path.encode("utf-8", "surrogateescape"), safe="/")
    url = f"{base_url}/v1/sessions/{quote(session_id, safe='')}/files/{path}"
    return Found(session_id, info.path, info.size, url)


def read_result(file: Found, content: bytes) -> CallToolResult:
    """The content in the form that a model can use."""
    if is_showable(content):
        media_type = media_type_of(content) or file.media_type
        return _result([content_of(content, media_type)], file.answer("image", media_type))
    text = text_in(content)
    if text is not None:
        cut = short(text, MOST_TEXT_CHARS)
        return _result([TextContent(text=cut)], file.answer("text", text=cut))
    if len(content) > MOST_EMBEDDED_BYTES:
        return too_large(file)
    blob = base64.b64encode(content).decode()
    resource = BlobResourceContents(uri=file.url, mime_type=file.media_type, blob=blob)
    return _result([_note(file), EmbeddedResource(resource=resource)], file.answer("binary"))


def too_large(file: Found) -> CallToolResult:
    """A link in place of the content."""
    link = ResourceLink(
        name=file.path,
        uri=file.url,
        size=file.size,
        mime_type=file.media_type,
        description="A file of the workspace. The link needs the service's API key.",
    )
    note = TextContent(
        text=f"{file.path} has {size_text(file.size)}: too large to be shown here. "
        "Look into it with execute_python."
    )
    return _result([note, link], file.answer("too_large"))


def text_in(content: bytes) -> str | None:
    """The content as text, if that is what it is."""
    if b"\0" in content:
        return None
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return None


def _note(file: Found) -> TextContent:
    return TextContent(text=f"{file.path}, {size_text(file.size)}, is not text: here is the file.")


def _result(content: list[ContentBlock], answer: ReadAnswer) -> CallToolResult:
    line = TextContent(text=session_line(answer.session_id))
    return CallToolResult(
        content=[*content, line], structured_content=answer.model_dump(mode="json")
    )
