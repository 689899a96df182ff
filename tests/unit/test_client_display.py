"""Results that show themselves in a notebook: harmless whatever the sandbox sent."""

import base64
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox_service.client import ExecutionResult, Image
from sandbox_service.client.display import LONGEST_HTML
from sandbox_service.client.parsing import parse_execution
from sandbox_service.client.tidy_html import tidy_html
from sandbox_service.client.transport import Transport
from tests.unit.fakes.rest_service import NOW

PNG = b"\x89PNG\r\n\x1a\n one"
OTHER_PNG = b"\x89PNG\r\n\x1a\n two"
SVG = '<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
FRAME = "<table border='1' class='dataframe'><thead><tr><th>x</th></tr></thead></table>"


def result_of(*outputs: dict[str, Any], **changes: Any) -> ExecutionResult:
    body = {
        "id": "exec_1",
        "session_id": "sess_1",
        "status": "ok",
        "outputs": list(outputs),
        "artifacts": [],
        "kernel": {"epoch": 1, "state": "kept"},
        "session_expires_at": NOW,
    }
    return parse_execution(body | changes, Transport("http://x.test", None))


def stream(text: str, name: str = "stdout") -> dict[str, Any]:
    return {"output_type": "stream", "name": name, "text": text}


def bundle(**data: str) -> dict[str, Any]:
    named = {name.replace("_", "/").replace("svg", "svg+xml"): text for name, text in data.items()}
    return {"output_type": "display_data", "data": named, "metadata": {}}


def error(*traceback: str) -> dict[str, Any]:
    return {
        "output_type": "error",
        "ename": "E<1>",
        "evalue": "a & b",
        "traceback": list(traceback),
    }


def encoded(content: bytes) -> str:
    return base64.b64encode(content).decode()


def artifact(path: str, url: str = "https://x.test/a?b=1&c=2") -> dict[str, Any]:
    return {
        "id": "art_1",
        "path": path,
        "size": 3,
        "media_type": "text/csv",
        "sha256": "0",
        "url": url,
    }


@pytest.mark.parametrize(
    ("output", "shown"),
    [
        (stream("a < b\n"), "<pre>a &lt; b\n</pre>"),
        (stream("oh\n", "stderr"), '<pre style="background: #fdd">oh\n</pre>'),
        (stream("\x1b[31mred\x1b[0m\x1b]8;;http://x\x07link"), "<pre>redlink</pre>"),
        (stream(""), ""),
        (bundle(text_plain="<Figure>"), "<pre>&lt;Figure&gt;\n</pre>"),
        (bundle(text_plain="x", text_html="<b>bold</b>"), "<div><b>bold</b></div>"),
        (bundle(image_png=encoded(PNG), text_plain="x"), Image("image/png", PNG)._repr_html_()),
        (bundle(image_png="!", text_plain="x"), "<pre>x\n</pre>"),
        (error("\x1b[0;31mE\x1b[0m: a < b"), '<pre style="background: #fdd">E: a &lt; b</pre>'),
        (error(), '<pre style="background: #fdd">E&lt;1&gt;: a &amp; b</pre>'),
        ({"output_type": "display_data"}, ""),
    ],
)
def test_an_output_is_shown_as_a_notebook_would(output: dict[str, Any], shown: str) -> None:
    """Text is escaped, tables are tables, pictures are pictures."""
    assert result_of(output)._repr_html_() == shown


def test_an_svg_is_shown_where_it_cannot_run() -> None:
    """As a picture: scripts in it do nothing there."""
    shown = result_of(bundle(image_svg=SVG))._repr_html_()
    assert shown.startswith('<img alt="" style="max-width: 100%" src="data:image/svg+xml;base64,')
    assert "script" not in shown


def test_a_data_frame_is_a_table() -> None:
    """What pandas sends, without its style."""
    frame = f"<div><style scoped>.dataframe {{}}</style>{FRAME}</div>"
    shown = result_of(bundle(text_html=frame, text_plain="   x"))._repr_html_()
    table = "<table><thead><tr><th>x</th></tr></thead></table>"
    assert shown == f"<div><div>{table}</div></div>"


def test_html_without_end_is_shown_as_its_text() -> None:
    """A notebook stays usable."""
    output = bundle(text_html="<p>" + "x" * LONGEST_HTML, text_plain="short")
    assert result_of(output)._repr_html_() == "<pre>short\n</pre>"


@pytest.mark.parametrize(
    ("html", "tidy"),
    [
        ("<p onclick='x()'>a</p>", "<p>a</p>"),
        ("<script>alert(1)</script>b", "b"),
        ("<script>a</script", ""),
        ("<SCRIPT>a</SCRIPT>b", "b"),
        ("<style>p{}</style><p style='color:red'>a", "<p>a</p>"),
        ("<img src=x onerror=alert(1)>", ""),
        ("<iframe src='//x'>y</iframe>z", "z"),
        ("<a href='javascript:x'>a</a>", "a"),
        ("<svg><a>x</a></svg>y", "y"),
        ("</div></div></body>a", "a"),
        ("<table><tr><td>a", "<table><tr><td>a</td></tr></table>"),
        ("<b><i>a</b>c</i>", "<b><i>a</i></b>c"),
        ("<td colspan=2 rowspan='x\"><b' id=y>a</td>", '<td colspan="2">a</td>'),
        ("a &lt;script&gt; & b", "a &lt;script&gt; &amp; b"),
        ("<!-- <script>a</script> -->b<br/><br>", "b<br><br>"),
        ("<<script>alert(1)//<</script>", "&lt;"),
        ("<x-y>a</x-y><form><input value=b></form>", "a"),
        ("<p title='<script>'>a</p>", "<p>a</p>"),
        ("<plaintext>a</p>", "a"),
    ],
)
def test_html_of_a_sandbox_is_made_harmless(html: str, tidy: str) -> None:
    """Elements that are known remain, closed; whatever acts is gone."""
    assert tidy_html(html) == tidy


class TagsOf(HTMLParser):
    """Reads HTML as it stands: which elements and attributes there are, and what stays open."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.open: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag not in ("br", "hr", "col"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


PIECES = ["<div>", "</div>", "<script>", "</script>", "<b onclick=x>", "</b>", "<td colspan=3>"]
PIECES += ["<!--", "-->", "<br/>", "<img src=x onerror=y>", "&lt;", '"', "<", ">", "/", "a=b", "\0"]


@given(st.lists(st.sampled_from(PIECES) | st.text(max_size=3), max_size=25).map("".join))
def test_whatever_a_sandbox_sends_stays_in_its_place(html: str) -> None:
    """Only elements that are known, each closed in its turn, no attribute but spans."""
    read = TagsOf(tidy_html(html))
    assert read.tags <= {"div", "b", "td", "br", "p", "i", "s", "u"}
    assert read.attributes <= {"colspan"}
    assert read.open == []


def test_how_it_ended_is_said_and_files_are_linked() -> None:
    """Below the output; a URL that a browser should not open is no link."""
    result = result_of(
        status="timeout",
        notices=["stopped after 5 s <"],
        kernel={"epoch": 2, "state": "reset"},
        truncated=True,
        artifacts=[artifact("a<b>.csv"), artifact("c", "javascript:alert(1)")],
    )
    assert result._repr_html_().split("\n") == [
        "<p><em>timeout</em></p>",
        "<p><em>stopped after 5 s &lt;</em></p>",
        "<p><em>the kernel&#x27;s state was reset: earlier variables are gone</em></p>",
        "<p><em>the output was cut</em></p>",
        '<ul><li><a href="https://x.test/a?b=1&amp;c=2" target="_blank" rel="noopener">'
        "a&lt;b&gt;.csv</a> (3 bytes)</li><li>c (3 bytes)</li></ul>",
    ]


@pytest.mark.parametrize(
    ("outputs", "png"),
    [
        ([bundle(image_png=encoded(PNG)), bundle(image_png=encoded(OTHER_PNG))], OTHER_PNG),
        ([bundle(image_png=encoded(PNG)), bundle(image_svg=SVG), stream("x")], PNG),
        ([bundle(image_svg=SVG)], None),
        ([stream("x")], None),
    ],
)
def test_the_picture_of_a_result_is_its_last_png(outputs: list[Any], png: bytes | None) -> None:
    """Bytes, and no base64 text."""
    assert result_of(*outputs)._repr_png_() == png


def test_a_picture_shows_itself() -> None:
    """In the format that it has."""
    assert Image("image/png", PNG)._repr_png_() == PNG
    assert Image("image/png", PNG)._repr_jpeg_() is None
    assert Image("image/jpeg", b"j")._repr_jpeg_() == b"j"
    assert Image("image/jpeg", b"j")._repr_png_() is None


def test_a_notebook_takes_html_and_png() -> None:
    """IPython's own formatter, as a notebook asks it."""
    formatters = pytest.importorskip("IPython.core.formatters")
    formatter = formatters.DisplayFormatter()
    data, _ = formatter.format(result_of(bundle(image_png=encoded(PNG)), stream("hello")))
    assert data["image/png"] == PNG
    assert "<pre>hello</pre>" in data["text/html"]
