"""The documentation works without the internet."""

from html.parser import HTMLParser

from sandbox_service.api.docs_page import docs_page


class Addresses(HTMLParser):
    """Every address that a page loads something from."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.found += [str(value) for name, value in attributes if name in ("src", "href")]


def test_the_documentation_loads_nothing_from_elsewhere() -> None:
    """Its script and its style are in it."""
    kinds = [address.partition(";")[0] for address in Addresses(docs_page()).found]
    assert kinds == ["data:,", "data:text/css", "data:text/javascript"]
    assert len(docs_page()) > 1_000_000
