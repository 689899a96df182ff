"""`sandbox:` links become real ones, in whole texts and in pieces."""

import pytest

from runner.links import LinkedText, with_links

URLS = {
    "chart.png": "https://x/1",
    "chart.png.txt": "https://x/2",
    "out/sales figures.csv": "https://x/3",
    "plan (final).pdf": "https://x/4",
    "Größe.csv": "https://x/5",
}
CASES = [
    ("no link", "no link"),
    ("[c](sandbox:/mnt/data/chart.png).", "[c](https://x/1)."),
    ("sandbox:/mnt/data/chart.png", "https://x/1"),
    ("See sandbox:/mnt/data/chart.png. Then", "See https://x/1. Then"),
    ("[t](sandbox:/mnt/data/chart.png.txt)", "[t](https://x/2)"),
    ("[s](sandbox:/mnt/data/out/sales%20figures.csv)", "[s](https://x/3)"),
    ("[s](<sandbox:/mnt/data/out/sales figures.csv>)", "[s](<https://x/3>)"),
    ("[p](sandbox:/mnt/data/plan (final).pdf)", "[p](https://x/4)"),
    ("[g](sandbox:/mnt/data/Größe.csv)", "[g](https://x/5)"),
    ("[g](sandbox:/mnt/data/Gr%C3%B6%C3%9Fe.csv)", "[g](https://x/5)"),
    ("[c](sandbox:/mnt/data/chart.png), [c](sandbox:/mnt/data/chart.png)",
     "[c](https://x/1), [c](https://x/1)"),
    ("sandbox:/mnt/data/unknown.csv", "sandbox:/mnt/data/unknown.csv"),
    ("sandbox:/mnt/data/chart.pngs", "sandbox:/mnt/data/chart.pngs"),
    ("sandbox:/mnt/data/chart.png.gz", "sandbox:/mnt/data/chart.png.gz"),
    ("sandbox:/mnt/data/", "sandbox:/mnt/data/"),
    ("sandbox:/mnt/da", "sandbox:/mnt/da"),
    ("sandbox:sandbox:/mnt/data/chart.png", "sandbox:https://x/1"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "linked"), CASES)
def test_links_of_known_files_are_replaced(text: str, linked: str) -> None:
    """As models write them: escaped, bare, with spaces and brackets; others stay."""
    assert with_links(text, URLS) == linked


@pytest.mark.parametrize("size", [1, 2, 3, 7, 18, 19, 20, 40])
@pytest.mark.parametrize(("text", "linked"), CASES)
def test_pieces_give_the_same_text(text: str, linked: str, size: int) -> None:
    """Wherever the text is cut."""
    links = LinkedText(URLS)
    pieces = [links.feed(text[start : start + size]) for start in range(0, len(text), size)]
    assert "".join([*pieces, links.end()]) == linked


def test_text_is_held_back_only_while_it_may_be_a_link() -> None:
    """A reader sees everything else at once."""
    links = LinkedText(URLS)
    assert links.feed("Look: s") == "Look: "
    assert links.feed("ee ") == "see "
    assert links.feed("sandbox:/mnt/data/chart.png") == ""
    assert links.feed(")") == "https://x/1)"
    assert links.end() == ""


def test_a_file_made_meanwhile_can_be_linked() -> None:
    """The addresses are looked up when the link comes."""
    urls: dict[str, str] = {}
    links = LinkedText(urls)
    links.feed("I will draw it. ")
    urls["new.png"] = "https://x/9"
    assert links.feed("sandbox:/mnt/data/new.png ") == "https://x/9 "
