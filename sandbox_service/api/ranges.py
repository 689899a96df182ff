"""The Range header, and the part of a stream that it asks for. Pure."""

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass

from sandbox_service.api.errors import RangeNotSatisfiable

_ONE_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")


@dataclass(frozen=True, slots=True)
class ByteRange:
    """Bytes `first` to `last`, both included."""

    first: int
    last: int

    @property
    def size(self) -> int:
        return self.last - self.first + 1


def parse_range(header: str, size: int) -> ByteRange | None:
    """The range that the header asks for of `size` bytes; None when it asks for all of them.

    Several ranges, other units and malformed headers ask for all, as RFC 9110 allows.
    Raises RangeNotSatisfiable for a range outside the file.
    """
    match = _ONE_RANGE.fullmatch(header.strip())
    if match is None or match.group(1, 2) == ("", ""):
        return None
    first, last = match.groups()
    if first and last and int(last) < int(first):
        return None
    if not first:
        chosen = ByteRange(max(0, size - int(last)), size - 1)
    else:
        chosen = ByteRange(int(first), min(int(last), size - 1) if last else size - 1)
    if chosen.size <= 0:
        raise RangeNotSatisfiable(f"The file has {size} bytes.", param="Range")
    return chosen


async def first_bytes(chunks: AsyncIterator[bytes], size: int) -> AsyncIterator[bytes]:
    """The first `size` bytes of a stream; no more of it is read than they need."""
    left = size
    async for chunk in chunks:
        if piece := chunk[:left]:
            yield piece
        left -= len(chunk)
        if left <= 0:
            return
