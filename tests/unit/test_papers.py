"""The papers at the root say what the tree is."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ARCHITECTURE = (ROOT / "ARCHITECTURE.md").read_text()
PAPERS = ("ARCHITECTURE.md", "CHANGELOG.md", "CONTRIBUTING.md", "README.md")


def rooms() -> set[str]:
    """The service's packages, and the packages beside it."""
    inner = {f"sandbox_service/{folder.parent.name}" for folder in packages("sandbox_service/*")}
    return inner | {folder.parent.name for folder in packages("*")} - {"sandbox_service"}


def packages(pattern: str) -> list[Path]:
    return list(ROOT.glob(f"{pattern}/__init__.py"))


def test_the_architecture_names_every_room_and_no_other() -> None:
    """A room that comes or goes is on the map in the same commit."""
    named = re.findall(r"^\| `([\w/]+)` \|", ARCHITECTURE, re.MULTILINE)
    assert sorted(named) == sorted(rooms())


def test_the_glossary_has_twenty_five_words() -> None:
    """So few that one can know them all."""
    glossary = ARCHITECTURE.partition("## Words")[2]
    words = re.findall(r"\*([\w ]+)\*", glossary.replace("\n", " "))
    assert len(set(words)) == len(words) == 25


@pytest.mark.parametrize("paper", PAPERS)
def test_what_a_paper_links_to_is_there(paper: str) -> None:
    """Links to files of this repository."""
    text = (ROOT / paper).read_text()
    linked = re.findall(r"\]\((?!https?:|sandbox:|#)([^)#]+)[^)]*\)", text)
    assert [target for target in linked if not (ROOT / target).exists()] == []
