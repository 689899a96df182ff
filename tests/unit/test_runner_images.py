"""Pictures are decoded, bounded in pixels and bytes, and refused when they cannot be shown."""

import os
import struct
import zlib
from io import BytesIO
from typing import Any

import PIL.Image
import pytest

from runner.image_sizes import ImageBounds, NotShowable, sized_image
from sandbox_service.client import Image

BOUNDS = ImageBounds(side=200, size_bytes=20_000)


def encoded(picture: PIL.Image.Image, kind: str = "PNG", **options: Any) -> Image:
    file = BytesIO()
    picture.save(file, kind, **options)
    return Image(f"image/{kind.lower()}", file.getvalue())


def noise(width: int, height: int, mode: str = "RGB") -> PIL.Image.Image:
    """A picture that no format makes small."""
    return PIL.Image.frombytes(mode, (width, height), os.urandom(width * height * len(mode)))


def opened(image: Image) -> PIL.Image.Image:
    return PIL.Image.open(BytesIO(image.content))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_a_picture_that_fits_is_passed_on_byte_by_byte(kind: str) -> None:
    """Nothing is lost by encoding it again."""
    image = encoded(PIL.Image.new("RGB", (120, 80), "red"), kind)
    sized = sized_image(image, BOUNDS)
    assert sized.image == image
    assert (sized.width, sized.height) == (120, 80)


def test_a_large_picture_is_scaled_to_the_longest_side() -> None:
    """With its proportions."""
    sized = sized_image(encoded(PIL.Image.new("RGB", (1000, 500), "red")), BOUNDS)
    assert (sized.width, sized.height) == (200, 100)
    assert opened(sized.image).size == (200, 100)
    assert sized.image.media_type == "image/png"


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L"])
def test_a_heavy_picture_is_bounded_in_bytes(mode: str) -> None:
    """JPEG where PNG is too large, fewer pixels where JPEG is."""
    sized = sized_image(encoded(noise(600, 600, mode)), BOUNDS)
    assert len(sized.image.content) <= BOUNDS.size_bytes
    assert sized.image.media_type == "image/jpeg"
    assert max(opened(sized.image).size) <= BOUNDS.side


@pytest.mark.parametrize("mode", ["P", "1", "LA", "I;16", "CMYK"])
def test_every_colour_space_can_be_scaled(mode: str) -> None:
    """Palettes, bits, sixteen bits, print colours."""
    kind = "JPEG" if mode == "CMYK" else "PNG"
    base = PIL.Image.new("L", (400, 300), 100)
    picture = PIL.Image.new(mode, (400, 300)) if mode == "I;16" else base.convert(mode)
    sized = sized_image(encoded(picture, kind), BOUNDS)
    assert opened(sized.image).mode in ("RGB", "RGBA", "L")
    assert sized.width == 200


def test_of_an_animation_the_first_picture_is_shown() -> None:
    """Endpoints take no moving ones, and not every one takes GIF."""
    frames = [PIL.Image.new("RGB", (50, 50), colour) for colour in ("red", "blue")]
    moving = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    sized = sized_image(moving, BOUNDS)
    assert sized.image.media_type == "image/png"
    assert opened(sized.image).convert("RGB").getpixel((0, 0)) == (255, 0, 0)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x89PNG\r\n\x1a\n",
        b"\x89PNG\r\n\x1a\n" + b"\0" * 200,
        encoded(noise(50, 50)).content[:500],
        b"GIF89a" + b"\xff" * 50,
        b"RIFF\0\0\0\0WEBPVP8 ",
    ],
    ids=["empty", "signature", "zeros", "cut", "gif", "webp"],
)
def test_broken_pictures_are_refused(content: bytes) -> None:
    """In a conversation one of them would fail every later call of the model."""
    with pytest.raises(NotShowable, match="not a valid image/png"):
        sized_image(Image("image/png", content), BOUNDS)


def test_a_picture_that_claims_millions_of_pixels_is_not_decoded() -> None:
    """A few hundred bytes may stand for gigabytes."""
    with pytest.raises(NotShowable, match="8000 x 8000 pixels"):
        sized_image(Image("image/png", png_bomb(8000, 8000)), BOUNDS)


def png_bomb(width: int, height: int) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    rows = zlib.compress(b"\0" * (width + 1) * 100, 9)
    chunks = [(b"IHDR", header), (b"IDAT", rows), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in chunks)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
