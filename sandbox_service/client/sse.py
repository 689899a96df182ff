"""Server-sent events, parsed from lines of text (WHATWG HTML, section 9.2)."""

from collections.abc import AsyncIterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ServerSentEvent:
    """One event as sent: `data` lines are joined by line feeds, `id` is the latest one seen."""

    event: str
    data: str
    id: str


async def parse_events(lines: AsyncIterator[str]) -> AsyncIterator[ServerSentEvent]:
    """Yield the complete events of `lines`; comments and an unfinished last event are dropped."""
    name, data, last_id = "", list[str](), ""
    async for line in lines:
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
