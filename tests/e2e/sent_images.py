"""What of the requests to a model was pictures, and what was text."""

import base64
import json
import re
from collections.abc import Iterable, Iterator
from io import BytesIO
from typing import Any

import PIL.Image

from runner.image_sizes import ImageBounds
from runner.scripted_model.server import Sent

BASE64 = re.compile(r"[A-Za-z0-9+/_=-]{200,}")
BOUNDS = ImageBounds()


def shown_images(sent: Iterable[Sent]) -> list[PIL.Image.Image]:
    """The pictures of the last request, opened. Everything else in any request must be text."""
    images: list[PIL.Image.Image] = []
    for request in sent:
        encoded = list(_image_data(request.body))
        rest = json.dumps(request.body)
        for data in encoded:
            rest = rest.replace(data, "")
        assert BASE64.search(rest) is None, "base64 outside of an image part"
        images = [_opened(data) for data in encoded]
    return images


def _opened(data: str) -> PIL.Image.Image:
    content = base64.b64decode(data.translate(str.maketrans("-_", "+/")), validate=True)
    assert len(content) <= BOUNDS.size_bytes
    picture = PIL.Image.open(BytesIO(content))
    picture.load()
    assert max(picture.size) <= BOUNDS.side
    return picture


def _image_data(node: Any) -> Iterator[str]:
    """The base64 of every image part, in the form of each protocol."""
    if isinstance(node, list):
        for inner in node:
            yield from _image_data(inner)
        return
    if not isinstance(node, dict):
        return
    match node:
        case {"type": "image_url", "image_url": {"url": str(url)}}:
            yield url.partition(";base64,")[2]
        case {"type": "input_image", "image_url": str(url)}:
            yield url.partition(";base64,")[2]
        case {
            "type": "image",
            "source": {"type": "base64", "media_type": "image/png", "data": data},
        }:
            yield data
        case {"inlineData": {"data": str(data)}} | {"inline_data": {"data": str(data)}}:
            yield data
        case _:
            for inner in node.values():
                yield from _image_data(inner)
