"""Tables that are shown as HTML, made plain and short for a model."""

from html.parser import HTMLParser

from sandbox_service.client.tidy_html import whole_tags

MOST_CHARS = 200_000
"""A longer table is cut before it is read: a model sees a few dozen rows of it."""
MOST_CELL_CHARS = 60
MOST_COLUMNS = 50


def table_text(html: str) -> str:
    """The first table of `html`, one line a row with ` | ` between cells; "" if there is none.

    What stands behind the table, as the sizes of a data frame do, is its last line.
    """
    reader = _TableReader()
    reader.feed(whole_tags(html[:MOST_CHARS]))
    reader.close()
    lines = [" | ".join(row) for row in reader.rows if any(row)]
    return "\n".join([*lines, *filter(None, [reader.behind])]) if lines else ""


class _TableReader(HTMLParser):
    """Gathers the cells of the first table, and the paragraph after it."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.behind = ""
        self._text: list[str] = []
        self._spans = (1, 1)
        self._hanging: dict[int, int] = {}
        self._place = ""
        self._tables_closed = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in ("tr", "td", "th", "p", "style", "script"):
            self._end()  # its end tag may be left out
        if tag == "tr" and not self._tables_closed:
            self.rows.append([])
        elif tag == "p" or (tag in ("td", "th") and not self._tables_closed):
            self._begin(tag, dict(attrs))

    def handle_endtag(self, tag: str) -> None:
        if tag == "table":
            self._end()
            self._tables_closed += 1
        elif tag == self._place:
            self._end()

    def handle_data(self, data: str) -> None:
        if self._place:
            self._text.append(data)

    def close(self) -> None:
        super().close()
        self._end()

    def _begin(self, tag: str, attributes: dict[str, str | None]) -> None:
        self._place, self._text = tag, []
        self._spans = _count(attributes.get("colspan")), _count(attributes.get("rowspan"))

    def _end(self) -> None:
        text = " ".join("".join(self._text).split())
        if self._place == "p":
            self.behind = self.behind or _short(text)
        elif self._place and self.rows and len(self.rows[-1]) < MOST_COLUMNS:
            self._add_cell(self.rows[-1], _short(text))
        self._place = ""

    def _add_cell(self, row: list[str], text: str) -> None:
        """To the right of the cells that hang down from rows above: index levels do."""
        while self._hanging.get(len(row), 0) > 0:
            self._hanging[len(row)] -= 1
            row.append("")
        columns, rows = self._spans
        for column in range(len(row), len(row) + columns):
            self._hanging[column] = rows - 1
        row.extend([text, *[""] * (columns - 1)])


def _count(span: str | None) -> int:
    is_number = span is not None and span.isascii() and span.isdigit() and len(span) < 4
    return max(1, min(int(span or 1), MOST_COLUMNS)) if is_number else 1


def _short(text: str) -> str:
    if len(text) <= MOST_CELL_CHARS:
        return text
    return f"{text[: MOST_CELL_CHARS - 3]}..."
