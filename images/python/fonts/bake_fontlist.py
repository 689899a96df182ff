"""Writes matplotlib's list of the image's fonts, with aliases for families that charts name."""

import json
from dataclasses import replace
from pathlib import Path

from matplotlib import cbook, font_manager

ALIASES = {
    "Liberation Sans": ["Arial", "Helvetica", "Helvetica Neue", "Calibri", "Verdana", "Segoe UI"],
    "Liberation Serif": ["Times New Roman", "Times", "Georgia", "Cambria"],
    "Liberation Mono": ["Courier New", "Courier", "Consolas", "Menlo", "Monaco"],
    "Noto Sans CJK JP": [
        "Noto Sans CJK SC",
        "Noto Sans CJK TC",
        "Noto Sans CJK KR",
        "Noto Sans SC",
        "Noto Sans JP",
        "Noto Sans KR",
        "Source Han Sans SC",
        "Source Han Sans CN",
        "SimHei",
        "SimSun",
        "Microsoft YaHei",
        "PingFang SC",
        "Heiti TC",
        "STHeiti",
        "WenQuanYi Micro Hei",
        "WenQuanYi Zen Hei",
        "Arial Unicode MS",
        "Hiragino Sans",
        "Hiragino Maru Gothic Pro",
        "MS Gothic",
        "Meiryo",
        "Yu Gothic",
        "IPAexGothic",
        "IPAGothic",
        "TakaoGothic",
        "Malgun Gothic",
        "NanumGothic",
        "NanumBarunGothic",
        "AppleGothic",
    ],
    "Symbola": ["Noto Emoji", "Noto Color Emoji", "Segoe UI Emoji", "Apple Color Emoji"],
}

BOLD = 700


def main() -> None:
    manager = font_manager.FontManager()
    manager.ttflist = [entry for entry in manager.ttflist if not Path(entry.fname).is_symlink()]
    manager.ttflist.sort(key=lambda entry: (entry.name, entry.fname))
    known = {entry.name for entry in manager.ttflist}
    missing = {*ALIASES, *font_manager._FALLBACK_FAMILIES} - known
    if missing:
        raise SystemExit(f"Fonts that the image must have are missing: {sorted(missing)}")
    manager.ttflist += bold_names(manager.ttflist)
    manager.ttflist += [name for entry in manager.ttflist for name in aliases(entry, known)]
    path = Path(cbook._get_data_path("fontlist.json"))
    font_manager.json_dump(manager, path)
    print(f"{len(json.loads(path.read_text())['ttflist'])} font names in {path}")


def bold_names(entries: list[font_manager.FontEntry]) -> list[font_manager.FontEntry]:
    """The fallback fonts that have one weight only, again as bold, so that asking is no fault."""
    bold = {entry.name for entry in entries if entry.weight == BOLD}
    wanted = set(font_manager._FALLBACK_FAMILIES) - bold
    return [replace(entry, weight=BOLD) for entry in entries if entry.name in wanted]


def aliases(entry: font_manager.FontEntry, known: set[str]) -> list[font_manager.FontEntry]:
    """The entry again under each other name that nobody has."""
    return [replace(entry, name=name) for name in ALIASES.get(entry.name, ()) if name not in known]


if __name__ == "__main__":
    main()
