"""HTTP as strangers speak it: a request's head has a bound in bytes and in time, before any key is known."""

import asyncio
from typing import Any

from starlette.responses import Response
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from sandbox_service.api.connections import Connections
from sandbox_service.api.errors import (
    HeadStalled,
    HeadTooLarge,
    TooManyConnections,
    error_answer,
    status_of,
)
from sandbox_service.domain.errors import InvalidRequest, ServiceError
from sandbox_service.domain.ids import new_id


class BoundedHttp(HttpToolsProtocol):
    """One connection. `room`, of the class, is what all connections of the process share."""

    room: Connections

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._is_in_head = True
        self._fed_bytes = 0  # since the head began, also those that the parser has not passed on
        self._head_bytes = 0
        self._refusal: ServiceError | None = None
        self._head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if not self.room.admit(self):
            self._answer(TooManyConnections("There are too many connections."))
            return
        self.room.waits(self)
        self._start_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        self.room.leave(self)
        self._stop_timer()
        super().connection_lost(exc)

    def give_way(self) -> None:
        self.transport.close()

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        if self._is_in_head:
            self._fed_bytes += len(data)
        super().data_received(data)
        if self._is_in_head and not self.transport.is_closing():
            self._start_timer()
            if self._fed_bytes > self.room.bounds.head_bytes:
                self._refuse(self._too_large())
                self.send_400_response("")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._head_bytes = 0

    def on_url(self, url: bytes) -> None:
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count(len(name) + len(value) + len(": \r\n"))
        if len(self.headers) >= self.room.bounds.most_headers:
            raise self._refuse(self._too_large())
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        if len(self.pipeline) >= self.room.bounds.most_pipelined:
            raise self._refuse(
                InvalidRequest("Too many requests at once.", code="too_many_requests")
            )
        self._is_in_head = False
        self._stop_timer()
        self.room.works(self)
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._is_in_head = True
        self._fed_bytes = 0

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if not self._is_busy:
            self.room.waits(self)

    def send_400_response(self, msg: str) -> None:
        """The parser gave up. Behind an answer that is still to come there is no place for another."""
        error = self._refusal or InvalidRequest("This is not HTTP.", code="invalid_http")
        self.room.note(error.code, self.client[0] if self.client else None)
        if self._is_busy:
            self.transport.close()
        else:
            self._answer(error)

    @property
    def _is_busy(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _count(self, size: int) -> None:
        self._head_bytes += size
        if self._head_bytes > self.room.bounds.head_bytes:
            raise self._refuse(self._too_large())

    def _too_large(self) -> HeadTooLarge:
        most = f"{self.room.bounds.head_bytes} bytes and {self.room.bounds.most_headers} headers"
        return HeadTooLarge(f"The head of a request may have {most} at most.")

    def _refuse(self, error: ServiceError) -> ServiceError:
        self._refusal = error
        return error

    def _start_timer(self) -> None:
        if self._head_timer is None:
            after_s = self.room.bounds.head_timeout_s
            self._head_timer = self.loop.call_later(after_s, self._on_timeout)

    def _stop_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _on_timeout(self) -> None:
        """Not while an answer is under way: then it may be us who do not read."""
        self._head_timer = None
        if self._is_busy:
            self._start_timer()
        elif not self.transport.is_closing():
            seconds = self.room.bounds.head_timeout_s
            self._refuse(HeadStalled(f"The request's head did not come within {seconds:g} s."))
            self.send_400_response("")

    def _answer(self, error: ServiceError) -> None:
        self.transport.write(_raw(error_answer(error, new_id("req")), status_of(error)))
        self.transport.close()


def bounded_protocol(connections: Connections) -> type[BoundedHttp]:
    """The protocol for a server whose connections these are."""

    class Here(BoundedHttp):
        room = connections

    return Here


def _raw(answer: Response, status: int) -> bytes:
    headers = [*answer.raw_headers, (b"connection", b"close")]
    lines = [b"%b: %b\r\n" % pair for pair in headers]
    return b"".join([STATUS_LINE[status], *lines, b"\r\n", bytes(answer.body)])
