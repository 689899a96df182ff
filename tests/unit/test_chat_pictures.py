"""Pictures in terminals: who can show them, and sequences that decode to the same picture."""

import base64
import io
import re
from collections.abc import Mapping

import PIL.Image
import pytest

from runner.chat.pictures import Room, drawn, protocol_of, room_of
from sandbox_service.client import Image

ROOM = Room(400, 300)
RED, BLUE = (255, 0, 0), (0, 0, 255)


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"TERM": "xterm-256color"}, None),
        ({}, None),
        ({"TERM": "xterm-kitty"}, "kitty"),
        ({"TERM": "xterm-256color", "KITTY_WINDOW_ID": "1"}, "kitty"),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "iTerm.app"}, "iterm2"),
        ({"TERM_PROGRAM": "WezTerm"}, "iterm2"),
        ({"TERM": "foot"}, "sixel"),
        ({"TERM": "tmux-256color", "TMUX": "x", "KITTY_WINDOW_ID": "1"}, None),
        ({"TERM": "screen-256color", "TERM_PROGRAM": "iTerm.app"}, None),
        ({"TERM": "xterm", "RUNNER_PICTURES": "sixel"}, "sixel"),
        ({"TERM": "xterm-kitty", "RUNNER_PICTURES": "none"}, None),
    ],
)
def test_terminals_are_known_by_their_environment(
    environment: Mapping[str, str], expected: str | None
) -> None:
    """RUNNER_PICTURES has the last word."""
    assert protocol_of(environment) == expected


def test_the_room_is_the_width_and_three_quarters_of_the_height() -> None:
    """In the pixels that the terminal says a character has, else in usual ones."""
    assert room_of(82, 40, Room(820, 800)) == Room(800, 600)
    assert room_of(82, 40) == Room(720, 540)


def picture(size: tuple[int, int] = (20, 10), kind: str = "PNG") -> Image:
    """Red on the left, blue on the right."""
    drawing = PIL.Image.new("RGB", size, RED)
    drawing.paste(BLUE, (size[0] // 2, 0, *size))
    content = io.BytesIO()
    drawing.save(content, kind)
    return Image(f"image/{kind.lower()}", content.getvalue())


def kitty_content(sequence: str) -> bytes:
    parts = re.findall(r"\x1b_G([^;]*);([^\x1b]*)\x1b\\", sequence)
    assert "".join(f"\x1b_G{control};{data}\x1b\\" for control, data in parts) == sequence
    assert parts[0][0].startswith("a=T,f=100")
    assert [control[-1] for control, _ in parts] == ["1"] * (len(parts) - 1) + ["0"]
    assert all(len(data) <= 4096 for _, data in parts)
    return base64.b64decode("".join(data for _, data in parts))


def iterm2_content(sequence: str) -> bytes:
    found = re.fullmatch(r"\x1b\]1337;File=inline=1;size=(\d+):([^\x07]*)\x07", sequence)
    assert found is not None
    content = base64.b64decode(found[2])
    assert len(content) == int(found[1])
    return content


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP"])
def test_kitty_and_iterm2_get_a_png(kind: str) -> None:
    """Whatever the code showed."""
    for protocol, content_of in (("kitty", kitty_content), ("iterm2", iterm2_content)):
        sequence = drawn(picture(kind=kind), protocol, ROOM)  # type: ignore[arg-type]
        assert sequence is not None
        with PIL.Image.open(io.BytesIO(content_of(sequence))) as shown:
            assert (shown.format, shown.size) == ("PNG", (20, 10))


def test_a_large_picture_is_made_to_fit() -> None:
    """Its proportions stay; the chunks of the protocol are small."""
    sequence = drawn(picture((4000, 1000)), "kitty", ROOM)
    assert sequence is not None
    with PIL.Image.open(io.BytesIO(kitty_content(sequence))) as shown:
        assert shown.size == (400, 100)


def sixel_pixels(sequence: str) -> dict[tuple[int, int], tuple[int, ...]]:
    """A terminal's reading of sixels, in percent of red, green and blue."""
    body = re.fullmatch(r'\x1bPq"1;1;\d+;\d+(.*)\x1b\\', sequence, re.DOTALL)
    assert body is not None
    palette, pixels = dict[str, tuple[int, ...]](), dict[tuple[int, int], tuple[int, ...]]()
    x = top = 0
    colour = ""
    for token in re.findall(r"#\d+(?:;\d+){4}|#\d+|!\d+.|[$-]|.", body[1]):
        if token[0] == "#" and ";" in token:
            name, _, *parts = token[1:].split(";")
            palette[name] = tuple(map(int, parts))
        elif token[0] == "#":
            colour = token[1:]
        elif token == "$":
            x = 0
        elif token == "-":
            x, top = 0, top + 6
        else:
            times = int(token[1:-1]) if token[0] == "!" else 1
            mask = ord(token[-1]) - 63
            for column in range(x, x + times):
                for bit in range(6):
                    if mask >> bit & 1:
                        pixels[column, top + bit] = palette[colour]
            x += times
    return pixels


def test_sixels_decode_to_the_same_picture() -> None:
    """Every pixel once, in its colour; the last band may be lower than six rows."""
    sequence = drawn(picture((20, 10)), "sixel", ROOM)
    assert sequence is not None
    pixels = sixel_pixels(sequence)
    assert set(pixels) == {(x, y) for x in range(20) for y in range(10)}
    assert {pixels[x, y] for x in range(10) for y in range(10)} == {(100, 0, 0)}
    assert {pixels[x, y] for x in range(10, 20) for y in range(10)} == {(0, 0, 100)}


@pytest.mark.parametrize(
    "image",
    [
        Image("image/svg+xml", b"<svg/>"),
        Image("image/png", b"\x89PNG\r\n\x1a\nbroken"),
        Image("image/png", b""),
        Image("image/png", picture((9000, 9000)).content),
    ],
    ids=["svg", "broken", "empty", "a bomb"],
)
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_what_cannot_be_drawn_is_left_out(image: Image) -> None:
    """The sandbox's pictures are not trusted."""
    assert drawn(image, "kitty", ROOM) is None
