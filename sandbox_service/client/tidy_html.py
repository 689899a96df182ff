"""HTML from a sandbox, made harmless: tables and text remain, whatever acts or styles is dropped."""

import re
from html import escape
from html.parser import HTMLParser

_TABLES = {"table", "thead", "tbody", "tfoot", "tr", "th", "td", "caption", "colgroup", "col"}
_BLOCKS = {"div", "p", "hr", "pre", "blockquote", "h1", "h2", "h3", "h4", "h5", "h6"}
_LISTS = {"ul", "ol", "li", "dl", "dt", "dd"}
_TEXT = {"span", "br", "code", "b", "i", "u", "s", "em", "strong", "small", "sub", "sup"}
_KEPT = frozenset(_TABLES | _BLOCKS | _LISTS | _TEXT)
_VOID = frozenset({"br", "hr", "col"})
# Their content is no text of the page.
_SWALLOWED = frozenset(
    {
        "script",
        "style",
        "template",
        "iframe",
        "object",
        "noscript",
        "title",
        "select",
        "svg",
        "math",
    }
)
_KEPT_ATTRIBUTES = frozenset({"colspan", "rowspan"})
_DECLARATION = re.compile(r"<[!?][^<>]{0,1000}>")
_LONG_VALUE = re.compile(r"""=(?:"[^"<>]{300,}+"|'[^'<>]{300,}+')""")
_NO_TAG = re.compile(
    r"""<(?!/?[a-zA-Z](?:[^<>"']{1,300}+|"[^"]{0,300}+"|'[^']{0,300}+'){0,60}+>)"""
)
_DEEPEST = 200


def tidy_html(html: str) -> str:
    """`html` with known elements only and every element closed: it cannot act, nor leave its place."""
    tidy = _Tidy()
    tidy.feed(whole_tags(html))
    tidy.close()
    return tidy.result()


def whole_tags(html: str) -> str:
    """`html` without comments and long attributes, in which every `<` begins a tag that ends.

    For the standard library's parser, which takes cubic time over tags that do not end.
    """
    html = _LONG_VALUE.sub("=''", _DECLARATION.sub("", _without_comments(html)))
    return _NO_TAG.sub("&lt;", html)


def _without_comments(html: str) -> str:
    kept: list[str] = []
    at = 0
    while (begin := html.find("<!--", at)) >= 0 and (end := html.find("-->", begin)) >= 0:
        kept.append(html[at:begin])
        at = end + len("-->")
    return "".join([*kept, html[at:]])


class _Tidy(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self._parts: list[str] = []
        self._open: list[str] = []
        self._swallowed: list[str] = []

    def result(self) -> str:
        closing = [f"</{tag}>" for tag in reversed(self._open)]
        return "".join([*self._parts, *closing])

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _SWALLOWED:
            self._swallowed.append(tag)
        if self._swallowed or tag not in _KEPT or len(self._open) >= _DEEPEST:
            return
        self._parts.append(f"<{tag}{_attributes(attrs)}>")
        if tag not in _VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _VOID:
            self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        if tag in self._swallowed:
            del self._swallowed[self._swallowed.index(tag) :]
            return
        if self._swallowed or tag not in self._open:
            return
        while (inner := self._open.pop()) != tag:
            self._parts.append(f"</{inner}>")
        self._parts.append(f"</{tag}>")

    def handle_data(self, data: str) -> None:
        if not self._swallowed:
            self._parts.append(escape(data))


def _attributes(attrs: list[tuple[str, str | None]]) -> str:
    """Spans of cells, as numbers."""
    kept = [(name, value or "") for name, value in attrs if name in _KEPT_ATTRIBUTES]
    return "".join(
        f' {name}="{value}"' for name, value in kept if value.isascii() and value.isdecimal()
    )
