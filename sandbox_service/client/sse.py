"""Server-sent events, parsed from bytes as they come (WHATWG HTML, section 9.2)."""

from collections.abc import AsyncIterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ServerSentEvent:
    """One event as sent: `data` lines are joined by line feeds, `id` is the latest one seen."""

    event: str
    data: str
    id: str


async def parse_events(chunks: AsyncIterator[bytes]) -> AsyncIterator[ServerSentEvent]:
    """Yield the complete events of `chunks`; comments and an unfinished last event are dropped."""
    name, data, last_id = "", list[str](), ""
    async for line in _lines(chunks):
        if not line:
            if data:
                yield ServerSentEvent(name or "message", "\n".join(data), last_id)
            name, data = "", []
            continue
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "event":
            name = value
        elif field == "data":
            data.append(value)
        elif field == "id":
            last_id = value


async def _lines(chunks: AsyncIterator[bytes]) -> AsyncIterator[str]:
    """Complete lines, ended by LF or CRLF.

    Not the HTTP library's: it also ends lines at U+2028 and its like, which JSON carries raw.
    """
    kept: list[bytes] = []
    async for chunk in chunks:
        *ends, rest = chunk.split(b"\n")
        for end in ends:
            line = b"".join([*kept, end])
            kept.clear()
            yield line.removesuffix(b"\r").decode("utf-8", "replace")
        kept.append(rest)
