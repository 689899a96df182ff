"""Charts draw Chinese, Japanese, Korean and emoji, whatever family is named, and say nothing."""

import io
import logging
import warnings
from pathlib import Path

import matplotlib as mpl

mpl.use("agg")

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib import font_manager
from PIL import Image

TEXT = "中文简体 日本語かな 한국어 😀🚀📈🤔🧪🟢 ✓→≤−"
LETTERS = "中語한😀🧪"
FAMILIES = [
    "sans-serif",
    "serif",
    "monospace",
    "Arial",
    "SimHei",
    "Malgun Gothic",
    "Noto Color Emoji",
]


class Strict(logging.Handler):
    """Turns what matplotlib logs as a warning into a failure."""

    def emit(self, record: logging.LogRecord) -> None:
        raise AssertionError(f"matplotlib said: {record.getMessage()}")


def picture(text: str, **properties: object) -> np.ndarray:
    """The pixels of a small figure that shows the text."""
    figure = plt.figure(figsize=(6, 1))
    figure.text(0.01, 0.3, text, **properties)
    with io.BytesIO() as buffer:
        figure.savefig(buffer, format="png")
        plt.close(figure)
        return np.asarray(Image.open(buffer).convert("L"))


def assert_drawn(**properties: object) -> None:
    """No warning, and five letters give five different pictures: boxes would all look alike."""
    picture(TEXT, **properties)
    shapes = {picture(letter, size=30, **properties).tobytes() for letter in LETTERS}
    assert len(shapes) == len(LETTERS), f"letters look alike with {properties}"
    blank = picture("", **properties)
    assert all(np.frombuffer(shape, np.uint8).min() < blank.min() for shape in shapes)


warnings.simplefilter("error")
logging.getLogger("matplotlib").addHandler(Strict(logging.WARNING))

for family in FAMILIES:
    assert_drawn(family=family)
    assert_drawn(family=family, weight="bold")

plt.title(TEXT)
plt.savefig("/tmp/title.pdf")
plt.savefig("/tmp/title.svg")
sns.set_theme()
assert_drawn()
plt.style.use("ggplot")
assert_drawn(weight="bold")

baked = Path(mpl.get_data_path(), "fontlist.json")
assert baked.exists()
assert not list(Path(mpl.get_cachedir()).glob("fontlist*")), "a font cache was built"
assert {font.name for font in font_manager.fontManager.ttflist} >= {
    "DejaVu Sans",
    "Noto Sans CJK JP",
}
print("fonts: ok")
