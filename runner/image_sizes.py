"""Pictures made fit for a model: decoded once, never larger than its bounds."""

from dataclasses import dataclass
from io import BytesIO

from sandbox_service.client import Image
from sandbox_service.domain.extras import needing

with needing("tool"):
    import PIL.Image
    from PIL import ImageOps

FORMATS = {"PNG": "image/png", "JPEG": "image/jpeg", "WEBP": "image/webp", "GIF": "image/gif"}
MOST_PIXELS = 25_000_000
"""More are not decoded: the file comes from the sandbox, and may be made to fill our memory."""
SMALLEST_SIDE = 64


class NotShowable(Exception):
    """The content is no picture that a model can be shown; the message says why."""


@dataclass(frozen=True, slots=True)
class ImageBounds:
    """What a model's endpoint takes: the longest side in pixels, and the size of the file."""

    side: int = 1568
    size_bytes: int = 1_000_000


@dataclass(frozen=True, slots=True)
class SizedImage:
    """A picture within bounds, with its width and height in pixels."""

    image: Image
    width: int
    height: int


def sized_image(image: Image, bounds: ImageBounds) -> SizedImage:
    """The picture as it is if it fits, else made smaller. Raises NotShowable.

    What does not decode is refused here: in a conversation it would fail every later call.
    """
    try:
        picture = _opened(image.content)
        media_type = FORMATS[picture.format or ""]
        is_one_frame = media_type != "image/gif" and not getattr(picture, "is_animated", False)
        if is_one_frame and _fits(image.content, picture, bounds):
            return SizedImage(Image(media_type, image.content), *picture.size)
        return _made_smaller(picture, bounds)
    except NotShowable:
        raise
    except Exception as error:  # broken content raises nearly anything
        raise NotShowable(f"not a valid {image.media_type}") from error


def _opened(content: bytes) -> PIL.Image.Image:
    """The decoded picture; its header is judged before its pixels are read."""
    picture = PIL.Image.open(BytesIO(content), formats=list(FORMATS))
    width, height = picture.size
    if width * height > MOST_PIXELS:
        raise NotShowable(f"too large with {width} x {height} pixels")
    picture.load()
    return picture


def _fits(content: bytes, picture: PIL.Image.Image, bounds: ImageBounds) -> bool:
    return len(content) <= bounds.size_bytes and max(picture.size) <= bounds.side


def _made_smaller(picture: PIL.Image.Image, bounds: ImageBounds) -> SizedImage:
    """PNG if that is small enough, else JPEG, else fewer pixels."""
    whole = _in_full_colour(ImageOps.exif_transpose(picture))
    side = bounds.side
    while side >= SMALLEST_SIDE:
        scaled = ImageOps.contain(whole, (side, side)) if max(whole.size) > side else whole
        for media_type, encoded in (("image/png", _png), ("image/jpeg", _jpeg)):
            if len(content := encoded(scaled)) <= bounds.size_bytes:
                return SizedImage(Image(media_type, content), *scaled.size)
        side = side * 2 // 3
    raise NotShowable("too large in every size")


def _in_full_colour(picture: PIL.Image.Image) -> PIL.Image.Image:
    """Palettes cannot be scaled, and not every endpoint reads other colour spaces."""
    if picture.mode in ("RGB", "RGBA", "L"):
        return picture
    return picture.convert("RGBA" if picture.has_transparency_data else "RGB")


def _png(picture: PIL.Image.Image) -> bytes:
    file = BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


def _jpeg(picture: PIL.Image.Image) -> bytes:
    """On white, as a page would show what is transparent."""
    file, page = BytesIO(), PIL.Image.new("RGB", picture.size, "white")
    page.paste(picture, mask=picture.getchannel("A") if picture.mode == "RGBA" else None)
    page.save(file, "JPEG", quality=85)
    return file.getvalue()
