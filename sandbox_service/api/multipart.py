"""Multipart forms, part by part as they arrive: nothing waits in memory or on disk."""

from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass

from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request

from sandbox_service.api.bodies import limited
from sandbox_service.domain.errors import InvalidRequest

_LONGEST_FIELD_BYTES = 4096
_LONGEST_BOUNDARY = 200
_MOST_HEAD_BYTES = 16 * 1024
_MOST_PARTS = 1000
_MALFORMED = "The body is not a valid multipart form."
_END = object()


@dataclass(frozen=True, slots=True)
class Upload:
    """One part of a form: a file when it has a filename, else a field."""

    name: str
    filename: str | None
    chunks: AsyncIterator[bytes]

    async def text(self) -> str:
        """A field's value. Raises InvalidRequest when it is too long."""
        value = b""
        async for chunk in self.chunks:
            value += chunk
            if len(value) > _LONGEST_FIELD_BYTES:
                raise InvalidRequest(
                    f"{self.name} is longer than {_LONGEST_FIELD_BYTES} bytes.", param=self.name
                )
        return value.decode("utf-8", "surrogateescape")


async def read_uploads(request: Request, max_bytes: int) -> AsyncIterator[Upload]:
    """The form's parts in order. Each must be read before the next; what is left of it is skipped.

    Raises InvalidRequest for what is no multipart form, TooLarge past `max_bytes` in all.
    """
    form = _Form(_boundary(request), limited(request, max_bytes))
    while (headers := await form.next_headers()) is not None:
        chunks = form.part()
        yield _upload(headers, chunks)
        async for _ in chunks:
            pass


def _boundary(request: Request) -> bytes:
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    if kind != b"multipart/form-data" or not options.get(b"boundary"):
        raise InvalidRequest(
            "Content-Type must be multipart/form-data with a boundary.", param="Content-Type"
        )
    if len(options[b"boundary"]) > _LONGEST_BOUNDARY:
        raise InvalidRequest(
            f"A boundary has {_LONGEST_BOUNDARY} bytes at most.", param="Content-Type"
        )
    return options[b"boundary"]


def _upload(headers: dict[bytes, bytes], chunks: AsyncIterator[bytes]) -> Upload:
    kind, options = parse_options_header(headers.get(b"content-disposition", b""))
    if kind != b"form-data" or b"name" not in options:
        raise InvalidRequest(_MALFORMED, param="body")
    filename = options.get(b"filename")
    return Upload(
        name=options[b"name"].decode("utf-8", "replace"),
        filename=None if filename is None else filename.decode("utf-8", "surrogateescape"),
        chunks=chunks,
    )


class _Form:
    """The parser's callbacks as things to await: headers (dict), data (bytes), end of part."""

    def __init__(self, boundary: bytes, body: AsyncIterator[bytes]) -> None:
        self._body = body
        self._seen: deque[object] = deque()
        self._headers: dict[bytes, bytes] = {}
        self._field, self._value = b"", b""
        self._head_bytes = self._parts = 0
        self._is_over = False
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._on_part_begin,
                "on_header_field": self._on_header_field,
                "on_header_value": self._on_header_value,
                "on_header_end": self._on_header_end,
                "on_headers_finished": self._on_headers_finished,
                "on_part_data": self._on_part_data,
                "on_part_end": self._on_part_end,
                "on_end": self._on_end,
            },
        )

    async def next_headers(self) -> dict[bytes, bytes] | None:
        """The headers of the next part, None after the last one."""
        item = await self._next()
        return item if isinstance(item, dict) else None

    async def part(self) -> AsyncGenerator[bytes, None]:
        """The data of the part whose headers came last."""
        while isinstance(item := await self._next(), bytes):
            yield item
        if item is None:
            raise InvalidRequest(_MALFORMED, param="body")

    async def _next(self) -> object:
        while not self._seen and not self._is_over:
            await self._feed()
        return self._seen.popleft() if self._seen else None

    async def _feed(self) -> None:
        chunk = await anext(self._body, None)
        if chunk is None:
            raise InvalidRequest("The multipart form ends before its last boundary.", param="body")
        try:
            self._parser.write(chunk)
        except MultipartParseError:
            raise InvalidRequest(_MALFORMED, param="body") from None

    def _on_part_begin(self) -> None:
        self._headers = {}
        self._head_bytes = 0
        self._parts += 1
        if self._parts > _MOST_PARTS:
            raise InvalidRequest(f"A form may have {_MOST_PARTS} parts.", param="body")

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._field += self._head(data[start:end])

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += self._head(data[start:end])

    def _head(self, piece: bytes) -> bytes:
        self._head_bytes += len(piece)
        if self._head_bytes > _MOST_HEAD_BYTES:
            raise InvalidRequest("The headers of a form's part are too long.", param="body")
        return piece

    def _on_header_end(self) -> None:
        self._headers[self._field.lower()] = self._value
        self._field, self._value = b"", b""

    def _on_headers_finished(self) -> None:
        self._seen.append(self._headers)

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        self._seen.append(data[start:end])

    def _on_part_end(self) -> None:
        self._seen.append(_END)

    def _on_end(self) -> None:
        self._is_over = True
