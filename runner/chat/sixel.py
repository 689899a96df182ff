"""A picture as sixels: bands of six rows, one line of characters per colour (DEC VT340)."""

from collections.abc import Iterator
from itertools import groupby

import PIL.Image

COLOURS = 128
BAND = 6


def sixel(picture: PIL.Image.Image) -> str:
    """The sequence that draws the picture, on white where it is transparent."""
    ground = PIL.Image.new("RGB", picture.size, "white")
    ground.paste(picture, mask=picture.getchannel("A") if picture.mode == "RGBA" else None)
    indexed = ground.quantize(COLOURS)
    width, height = indexed.size
    bands = "-".join(_bands(indexed))
    return f'\x1bPq"1;1;{width};{height}{_palette(indexed)}{bands}\x1b\\'


def _palette(indexed: PIL.Image.Image) -> str:
    """The colours, each part in percent."""
    parts = indexed.getpalette() or []
    percent = [round(part * 100 / 255) for part in parts]
    colours = zip(percent[::3], percent[1::3], percent[2::3], strict=True)
    return "".join(f"#{n};2;{r};{g};{b}" for n, (r, g, b) in enumerate(colours))


def _bands(indexed: PIL.Image.Image) -> Iterator[str]:
    width, height = indexed.size
    pixels = indexed.tobytes()
    for top in range(0, height, BAND):
        rows = [pixels[y * width : (y + 1) * width] for y in range(top, min(top + BAND, height))]
        yield "$".join(f"#{colour}{_run_lengths(line)}" for colour, line in _lines(rows, width))


def _lines(rows: list[bytes], width: int) -> Iterator[tuple[int, bytes]]:
    """For each colour of a band: which of the six pixels it has in each column."""
    masks: dict[int, bytearray] = {}
    for bit, row in enumerate(rows):
        for x, colour in enumerate(row):
            masks.setdefault(colour, bytearray(width))[x] |= 1 << bit
    yield from ((colour, bytes(mask)) for colour, mask in masks.items())


def _run_lengths(masks: bytes) -> str:
    runs = ((chr(63 + mask), len(list(run))) for mask, run in groupby(masks))
    return "".join(f"!{length}{sign}" if length > 3 else sign * length for sign, length in runs)
