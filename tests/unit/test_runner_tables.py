"""HTML tables become short plain ones."""

import pandas as pd
import pytest

from runner.tables import MOST_CELL_CHARS, table_text

TWO_LEVELS = pd.DataFrame({"a": [1, 1, 2], "b": ["x", "y", "x"], "v": [1.5, 2, 3]}).set_index(
    ["a", "b"]
)


def test_a_data_frame_keeps_its_cells_and_sizes() -> None:
    """As pandas shows it in a notebook, the sizes last."""
    frame = pd.DataFrame({"city": ["Zürich", "日本"], "rain": [1.5, None]})
    html = frame.to_html(notebook=True, show_dimensions=True)
    assert table_text(html) == (
        " | city | rain\n0 | Zürich | 1.5\n1 | 日本 | NaN\n2 rows × 2 columns"
    )


def test_cells_that_hang_down_or_span_keep_the_columns_apart() -> None:
    """Index levels and column levels are not shifted."""
    assert (
        table_text(TWO_LEVELS.to_html())
        == " |  | v\na | b | \n1 | x | 1.5\n | y | 2.0\n2 | x | 3.0"
    )
    assert table_text(TWO_LEVELS.unstack().to_html()).startswith(" | v | \nb | x | y\n")


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("<b>no table</b>", ""),
        ("<p>before</p>", ""),
        ("<table></table>", ""),
        ("<table><tr><td>a<td>b<tr><td>c</table>", "a | b\nc"),
        ("<table><tr><td>1 &lt; 2</td></tr></table>", "1 < 2"),
        ("<style>td {}</style><table><tr><td> a\n b </td></tr></table>", "a b"),
        ("<table><tr><td>a</td></tr></table><table><tr><td>b</td></tr></table>", "a"),
        ("<table><tr><td>cut in the mid", "cut in the mid"),
        ('<table><tr><td colspan="x">a</td><td colspan="2">b</td><td>c', "a | b |  | c"),
    ],
)
def test_what_is_no_plain_table_does_no_harm(html: str, text: str) -> None:
    """Left-out end tags, entities, styles, a second table, an end in the middle."""
    assert table_text(html) == text


def test_a_hostile_table_is_bounded() -> None:
    """Spans of millions, cells of megabytes, rows without end."""
    spans = '<table><tr><td colspan="999999999" rowspan="999999999">a</td></tr></table>'
    assert len(table_text(spans)) < 500
    assert len(table_text(f"<table><tr><td>{'x' * 1_000_000}")) == MOST_CELL_CHARS
    assert len(table_text("<table>" + "<tr><td>x</td></tr>" * 1_000_000)) < 200_000
