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
FROM_DEBIAN = {"text, documents and formats": {"odfpy": "1.4.2"}}
"""What Debian packages, since there is no wheel of it."""
FONTS = (
    "DejaVu, Liberation (as Arial, Times New Roman, Courier New), Noto Sans CJK, "
    "WenQuanYi Micro Hei (TrueType, for PDF), Symbola, Unifont"
)
DATA = (
    "seaborn.load_dataset of anscombe, diamonds, flights, iris, mpg, penguins, tips, titanic; "
    "nltk's stopwords, punkt_tab, vader_lexicon, wordnet; vega_datasets' local ones"
)
NOT_THERE = {
    "torch, tensorflow, transformers": "scikit-learn, xgboost",
    "lightgbm, catboost": "xgboost",
    "prophet, pmdarima": "statsmodels",
    "spacy, nltk's taggers": "nltk, regular expressions",
    "pymupdf, camelot, tabula": "pdfplumber, pypdf, pypdfium2",
    "weasyprint, pdfkit, LaTeX, LibreOffice": "reportlab, fpdf2",
    "pytesseract": "nothing reads text from pictures",
    "ffmpeg, moviepy": "cv2.VideoWriter, pillow's GIF",
    "bokeh, folium": "plotly, geopandas",
    "kaleido, vl-convert (PNG of plotly and altair)": "write_html and save('chart.html'), matplotlib",
    "psycopg2, pymysql": "no server is in reach: sqlite3, duckdb",
    "requests and urllib reach nobody": "files that were uploaded",
}
"""What programs often ask for in vain, and what to use instead."""


def pinned_versions(lock: str) -> dict[str, str]:
    """Package to version, of every package in a lock."""
    return dict(PINNED.findall(lock))


def sections(requirements: str) -> dict[str, list[str]]:
    """The wanted packages, under the comment that heads their block."""
    return {title: WANTED.findall(block) for title, block in SECTION.findall(requirements)}


def all_versions(source: Path) -> dict[str, str]:
    """Every package that user code can import, what others depend on too."""
    packaged = {name: version for group in FROM_DEBIAN.values() for name, version in group.items()}
    return pinned_versions((source / "requirements-kernel.lock").read_text()) | packaged


def package_groups(source: Path) -> dict[str, dict[str, str]]:
    """The packages that one asks for, with their versions, by what they are for."""
    versions = all_versions(source)
    wanted = sections((source / "requirements-kernel.in").read_text())
    groups = {title: {name: versions[name] for name in names} for title, names in wanted.items()}
    return {title: {**group, **FROM_DEBIAN.get(title, {})} for title, group in groups.items()}


def contents(source: Path = SOURCE) -> dict[str, object]:
    """`packages` are those one asks for, `all` also what they depend on."""
    return {
        "python": "3.13",
        "packages": package_groups(source),
        "all": all_versions(source),
        "fonts": FONTS,
        "data": DATA,
    }


def contents_json(source: Path = SOURCE) -> str:
    return json.dumps(contents(source), indent=1) + "\n"


def contents_markdown(source: Path = SOURCE) -> str:
    """One short line per group, in words that fit into a tool's description; then what is not there."""
    lines = [
        f"- {title}: " + ", ".join(f"{name} {version}" for name, version in packages.items())
        for title, packages in package_groups(source).items()
    ]
    missing = [f"| {names} | {instead} |" for names, instead in NOT_THERE.items()]
    return "\n".join(
        [
            *("Python 3.13 with:", "", *lines, f"- fonts: {FONTS}", f"- data: {DATA}", ""),
            *("No network, no pip. What is not there:", ""),
            *("| not there | instead |", "|---|---|", *missing, ""),
        ]
    )


def main() -> None:
    (SOURCE / "CONTENTS.md").write_text(contents_markdown())


if __name__ == "__main__":
    main()
