"""What user code finds in the image, made from the lock: for a model to read, and for machines.

`python -m images.contents` writes `python/CONTENTS.md`; the build puts the JSON into the image.
"""

import json
import re
from pathlib import Path

SOURCE = Path(__file__).parent / "python"
PINNED = re.compile(r"^([a-z0-9][a-z0-9.-]*)==([^\s;]+)", re.MULTILINE)
WANTED = re.compile(r"^([a-z0-9][a-z0-9.-]*)", re.MULTILINE)
SECTION = re.compile(r"^# (.+)\n((?:[a-z0-9].*\n)+)", re.MULTILINE)
FONTS = (
    "DejaVu, Liberation (as Arial, Times New Roman, Courier New), Noto Sans CJK, Symbola, Unifont"
)


def pinned_versions(lock: str) -> dict[str, str]:
    """Package to version, of every package in a lock."""
    return dict(PINNED.findall(lock))


def sections(requirements: str) -> dict[str, list[str]]:
    """The wanted packages, under the comment that heads their block."""
    return {title: WANTED.findall(block) for title, block in SECTION.findall(requirements)}


def contents(source: Path = SOURCE) -> dict[str, object]:
    """`packages` are those one asks for, `all` also what they depend on."""
    versions = pinned_versions((source / "requirements-kernel.lock").read_text())
    wanted = sections((source / "requirements-kernel.in").read_text())
    groups = {title: {name: versions[name] for name in names} for title, names in wanted.items()}
    return {"python": "3.13", "packages": groups, "all": versions, "fonts": FONTS}


def contents_json(source: Path = SOURCE) -> str:
    return json.dumps(contents(source), indent=1) + "\n"


def contents_markdown(source: Path = SOURCE) -> str:
    """One short line per group, in words that fit into a tool's description."""
    wanted = sections((source / "requirements-kernel.in").read_text())
    versions = pinned_versions((source / "requirements-kernel.lock").read_text())
    lines = [
        f"- {title}: " + ", ".join(f"{name} {versions[name]}" for name in names)
        for title, names in wanted.items()
    ]
    return "\n".join(
        ["Python 3.13 with:", "", *lines, f"- fonts: {FONTS}", "", "No network, no pip.", ""]
    )


def main() -> None:
    (SOURCE / "CONTENTS.md").write_text(contents_markdown())


if __name__ == "__main__":
    main()
