"""Pictures in a terminal: the escape sequences of kitty, iTerm2 and sixel terminals."""

import base64
import fcntl
import io
import math
import struct
import termios
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import PIL.Image

from runner.chat.sixel import sixel
from sandbox_service.client import Image

PictureProtocol = Literal["kitty", "iterm2", "sixel"]

PROTOCOLS: tuple[PictureProtocol, ...] = ("kitty", "iterm2", "sixel")
KITTY_CHUNK = 4096
MOST_PIXELS = 40_000_000
_BY_PROGRAM: Mapping[str, PictureProtocol] = {
    "iTerm.app": "iterm2",
    "WezTerm": "iterm2",
    "mintty": "iterm2",
    "ghostty": "kitty",
}
_BY_TERM: Mapping[str, PictureProtocol] = {
    "xterm-kitty": "kitty",
    "xterm-ghostty": "kitty",
    "foot": "sixel",
    "foot-extra": "sixel",
    "mlterm": "sixel",
    "contour": "sixel",
    "yaft-256color": "sixel",
}


@dataclass(frozen=True, slots=True)
class Room:
    """The pixels that a picture may take."""

    width: int
    height: int


UNKNOWN = Room(0, 0)
USUAL_CELL = Room(9, 18)
"""A character, where the terminal does not say."""


def protocol_of(environment: Mapping[str, str]) -> PictureProtocol | None:
    """How the terminal takes pictures; None when it is not known to. RUNNER_PICTURES decides."""
    chosen = environment.get("RUNNER_PICTURES")
    if chosen:
        return next((protocol for protocol in PROTOCOLS if protocol == chosen), None)
    if "TMUX" in environment or environment.get("TERM", "").startswith("screen"):
        return None  # the multiplexer in between does not pass them on
    if "KITTY_WINDOW_ID" in environment:
        return "kitty"
    by_program = _BY_PROGRAM.get(environment.get("TERM_PROGRAM", ""))
    return by_program or _BY_TERM.get(environment.get("TERM", ""))


def room_of(columns: int, rows: int, window: Room = UNKNOWN) -> Room:
    """The room in a window of this size: its width, and three quarters of its height."""
    cell_width = window.width // columns or USUAL_CELL.width
    cell_height = window.height // rows or USUAL_CELL.height
    return Room(max(1, (columns - 2) * cell_width), max(1, rows * 3 // 4 * cell_height))


def window_of(descriptor: int) -> Room:
    """The whole window of a terminal; zeros where it does not say."""
    try:
        answer = fcntl.ioctl(descriptor, termios.TIOCGWINSZ, bytes(8))
    except OSError:
        return UNKNOWN
    _, _, width, height = struct.unpack("HHHH", answer)
    return Room(width, height)


def drawn(image: Image, protocol: PictureProtocol, room: Room) -> str | None:
    """The sequence that shows the picture; None when it cannot be shown: SVG, or broken."""
    picture = _opened(image, room)
    if picture is None:
        return None
    if protocol == "sixel":
        return sixel(picture)
    content = io.BytesIO()
    picture.save(content, "PNG")
    encode = _kitty if protocol == "kitty" else _iterm2
    return encode(content.getvalue())


def _opened(image: Image, room: Room) -> PIL.Image.Image | None:
    """The picture in its room. What the sandbox sends is not trusted: it is drawn anew."""
    if image.media_type == "image/svg+xml":
        return None
    try:
        with PIL.Image.open(io.BytesIO(image.content)) as picture:
            if math.prod(picture.size) > MOST_PIXELS:
                return None
            shown = picture.convert("RGBA")
    except (OSError, ValueError, SyntaxError, PIL.Image.DecompressionBombError):
        return None
    shown.thumbnail((room.width, room.height))
    return shown


def _kitty(content: bytes) -> str:
    encoded = base64.b64encode(content).decode()
    chunks = [encoded[at : at + KITTY_CHUNK] for at in range(0, len(encoded), KITTY_CHUNK)]
    parts = []
    for number, chunk in enumerate(chunks):
        control = "a=T,f=100,q=2," if number == 0 else ""
        more = int(number < len(chunks) - 1)
        parts.append(f"\x1b_G{control}m={more};{chunk}\x1b\\")
    return "".join(parts)


def _iterm2(content: bytes) -> str:
    encoded = base64.b64encode(content).decode()
    return f"\x1b]1337;File=inline=1;size={len(content)}:{encoded}\x07"
