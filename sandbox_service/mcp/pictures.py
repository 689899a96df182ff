"""Pictures for a client: only what is what it says it is, and a bounded amount of it."""

import base64
import struct
from dataclasses import dataclass, field

from mcp_types import ImageContent

from sandbox_service.client import Image
from sandbox_service.client.text import size_text

# How each picture that models take begins: one that lies about its type fails the model's call.
SIGNATURES = {
    "image/png": b"\x89PNG\r\n\x1a\n",
    "image/jpeg": b"\xff\xd8\xff",
    "image/webp": b"RIFF",
    "image/gif": b"GIF8",
}

MOST_BYTES = 500_000
"""All pictures of one result. Clients refuse messages above one MiB, and base64 adds a third."""
MOST_PICTURES = 4
LONGEST_SIDE = 8000
"""Longer sides are refused by models."""


@dataclass
class Pictures:
    """Gathers the pictures of one result, within the bounds.

    Nothing is decoded: the pictures come from a sandbox, and the service that reads them holds the
    engine. What is too large is named, and can be drawn again with fewer dots.
    """

    kept: list[ImageContent] = field(default_factory=list)
    _room: int = MOST_BYTES

    def note(self, image: Image) -> str:
        """Keep the picture if there is room; says in brackets what became of it."""
        size = len(image.content)
        if image.media_type == "image/svg+xml":
            return "[an SVG picture, not shown to you]"
        if media_type_of(image.content) != image.media_type:
            return f"[a picture that is not valid {image.media_type}]"
        if size > MOST_BYTES or _longest_side(image.content) > LONGEST_SIDE:
            return f"[a picture of {size_text(size)}, too large to be shown: use a lower dpi]"
        if size > self._room or len(self.kept) >= MOST_PICTURES:
            return "[one more picture, not shown to you: show fewer at once]"
        self._room -= size
        self.kept.append(content_of(image.content, image.media_type))
        return f"[picture {len(self.kept)}, {size_text(size)}]"


def media_type_of(content: bytes) -> str | None:
    """The type of a picture by how it begins; None for what is none that models take."""
    for media_type, signature in SIGNATURES.items():
        if content.startswith(signature):
            return media_type
    return None


def content_of(content: bytes, media_type: str) -> ImageContent:
    """The picture as clients take it."""
    return ImageContent(data=base64.b64encode(content).decode(), mime_type=media_type)


def is_showable(content: bytes) -> bool:
    """Whether a file is a picture that can be shown on its own."""
    if media_type_of(content) is None or len(content) > MOST_BYTES:
        return False
    return _longest_side(content) <= LONGEST_SIDE


def _longest_side(content: bytes) -> int:
    """Of a PNG, as its head says; 0 for other types, whose files are small when they are."""
    if not content.startswith(SIGNATURES["image/png"]) or len(content) < 24:
        return 0
    width, height = struct.unpack(">II", content[16:24])
    return int(max(width, height))
