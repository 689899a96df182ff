"""Workspace paths: what is legal, how it travels, how it is shown."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox_service.domain.errors import InvalidRequest
from sandbox_service.domain.names import clean_path, decode_name, display_path, encode_name

GOOD = [
    "a",
    "out.csv",
    "sub/folder/x y.csv",
    "Zoë/图表.png",
    "😀",
    "-rf",
    "...",
    ".hidden",
    "a\\b",
    "line\nfeed",
    "%2e%2e",
    "x" * 255,
    "\udcff\udcfe.bin",
]

BAD = {
    "": "is empty",
    "/etc/passwd": "is absolute",
    "/": "is absolute",
    "..": "`..` part",
    "a/../b": "`..` part",
    "a/..": "`..` part",
    ".": "`.` or",
    "./a": "`.` or",
    "a//b": "empty part",
    "a/": "empty part",
    "a\0b": "NUL",
    "x" * 256: "longer than 255 bytes",
    "é" * 128: "longer than 255 bytes",
    "ab/" * 1400 + "x": "longer than 4096 bytes",
    "a\ud800": "no text",
}


@pytest.mark.parametrize("path", GOOD)
def test_legal_paths_stay_as_they_are(path: str) -> None:
    """Any byte string is a file name, but the few that are none."""
    assert clean_path(path) == path
    assert decode_name(encode_name(path)) == path


@pytest.mark.parametrize(("path", "rule"), BAD.items(), ids=range(len(BAD)))
def test_illegal_paths_are_refused_with_the_rule(path: str, rule: str) -> None:
    """The caller reads which rule the path breaks."""
    with pytest.raises(InvalidRequest) as refusal:
        clean_path(path)
    assert rule in refusal.value.message
    assert refusal.value.param == "path"


def test_escapes_that_spell_text_become_the_text() -> None:
    """One file has one path, however its bytes came in."""
    assert clean_path("caf\udcc3\udca9") == "café"


@pytest.mark.parametrize(
    "name",
    ["", "..", "a/../b", "/a", "a//b", "a/", "a b", "é", "a%", "a%2", "%zz", "%2F", "%2e", "%61",
     "a%00b", "a\ud800", "%c3%a9", "%2E%2E/a", "a?b", "a" * 256],
)  # fmt: skip
def test_names_that_nobody_encoded_are_refused(name: str) -> None:
    """From an agent only the one canonical form of a legal path is taken."""
    with pytest.raises(ValueError, match=r"the name|surrogates"):
        decode_name(name)


parts = st.binary(min_size=1, max_size=20).filter(
    lambda part: b"/" not in part and b"\0" not in part and part not in (b".", b"..")
)


@given(st.lists(parts, min_size=1, max_size=4).map(b"/".join))
def test_every_legal_byte_string_makes_the_round_trip(as_bytes: bytes) -> None:
    """No file of a workspace is out of reach because of its name."""
    path = as_bytes.decode("utf-8", "surrogateescape")
    name = encode_name(clean_path(path))
    assert name.isascii()
    assert decode_name(name) == path


@given(st.text(st.characters(exclude_categories=()), max_size=20))
def test_any_text_is_cleaned_or_refused_and_can_be_shown(raw: str) -> None:
    """Nothing but InvalidRequest comes out, and what is shown is printable Unicode."""
    try:
        path = clean_path(raw)
    except InvalidRequest:
        return
    shown = display_path(path)
    shown.encode()
    assert not set(shown) & {"\n", "\r", "\x1b", "\u202e", "\0"}


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("plots/图 1.png", "plots/图 1.png"),
        ("a\udcffb", "a\ufffdb"),
        ("a\nb\x1b[2J", "a\\nb\\x1b[2J"),
        ("gpj.\u202eexe", "gpj.\\u202eexe"),
        ("👩\u200d🔬", "👩\u200d🔬"),
    ],
)
def test_paths_are_shown_as_printable_text(path: str, shown: str) -> None:
    """Terminals, JSON and logs cannot be fooled by a name."""
    assert display_path(path) == shown
