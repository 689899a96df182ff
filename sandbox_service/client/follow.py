"""One execution followed to its end, over as many connections as that takes."""

from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, aclosing
from dataclasses import dataclass
from urllib.parse import quote

import httpx

from sandbox_service.client.errors import (
    ApiError,
    ClientError,
    ProtocolError,
    ServiceUnreachable,
    StreamBroken,
)
from sandbox_service.client.events import (
    Event,
    ExecutionCompleted,
    ExecutionStarted,
    Interruption,
    read_events,
)
from sandbox_service.client.results import ExecutionResult
from sandbox_service.client.retries import is_passing
from sandbox_service.client.transport import Transport

HELD_S = 5.0
"""A connection that still carries keep-alives after so long counts as progress."""

Opening = AbstractAsyncContextManager[httpx.Response]


@dataclass(slots=True)
class Place:
    """Where a reader is: in which execution, and after which event. Empty ids are not known yet."""

    session_id: str = ""
    execution_id: str = ""
    last_event_id: int = 0

    @property
    def is_known(self) -> bool:
        """Whether the rest can be asked for."""
        return bool(self.session_id and self.execution_id)

    def learn(self, session_id: str, execution_id: str) -> None:
        """Take the ids that are said; what is not said stays."""
        self.session_id = session_id or self.session_id
        self.execution_id = execution_id or self.execution_id

    def pass_over(self, event: Event) -> bool:
        """Move on to `event`. False if it was seen already, over another connection."""
        if event.id <= self.last_event_id:
            return False
        self.last_event_id = event.id
        if isinstance(event, ExecutionStarted):
            self.learn(event.session_id, event.execution_id)
        return True


class Follower:
    """Yields each event of one execution once, in order; the last one is ExecutionCompleted.

    `post` starts the execution, or finds the one that it started before, since it carries an
    Idempotency-Key: it is sent again while the execution's id is not known. From then on the rest
    is asked for by number.
    """

    def __init__(
        self, transport: Transport, place: Place, post: Callable[[], Opening] | None = None
    ) -> None:
        self._transport = transport
        self._place = place
        self._post = post
        self._patience = transport.call_patience()
        self._was_open = False

    async def events(self) -> AsyncGenerator[Event]:
        """Raises ApiError, ServiceUnreachable before the first answer, StreamBroken after it."""
        while True:
            failure: ClientError | None = None
            try:
                async with aclosing(self._connection()) as events:
                    async for event in events:
                        yield event
                        if isinstance(event, ExecutionCompleted):
                            return
            except (ServiceUnreachable, ApiError) as error:
                if not is_passing(error):
                    raise
                failure = error
            if not await self._patience.wait(failure):
                raise self._given_up(failure) from failure

    async def _connection(self) -> AsyncGenerator[Event]:
        """The events of one connection that were not seen before."""
        async with self._opening() as answer:
            self._opened(answer)
            async for event in read_events(self._chunks(answer), self._transport):
                if isinstance(event, Interruption):
                    self._place.learn(event.session_id, event.execution_id)
                elif self._place.pass_over(event):
                    self._patience.renew()
                    yield event

    async def _chunks(self, answer: httpx.Response) -> AsyncGenerator[bytes]:
        opened_at = self._transport.clock.monotonic()
        async for chunk in answer.aiter_bytes():
            if self._transport.clock.monotonic() - opened_at > HELD_S:
                self._patience.renew()
            yield chunk

    def _opening(self) -> Opening:
        place = self._place
        if self._post is not None and not place.is_known:
            return self._post()
        path = f"/v1/sessions/{_quoted(place.session_id)}/executions/{_quoted(place.execution_id)}"
        headers = {"Last-Event-ID": str(place.last_event_id)} if place.last_event_id else {}
        return self._transport.stream("GET", f"{path}/events", headers=headers)

    def _opened(self, answer: httpx.Response) -> None:
        """From the first answer on the code may run: more patience is due than with a call."""
        if not answer.headers.get("content-type", "").startswith("text/event-stream"):
            raise ProtocolError("the answer is not a stream of events")
        if not self._was_open:
            self._was_open = True
            self._patience = self._transport.stream_patience()

    def _given_up(self, failure: ClientError | None) -> ClientError:
        if failure is not None and not self._was_open:
            return failure
        return StreamBroken(self._place.execution_id or None, self._place.last_event_id)


async def result_of(events: AsyncGenerator[Event]) -> ExecutionResult:
    """What the execution came to."""
    async with aclosing(events):
        async for event in events:
            if isinstance(event, ExecutionCompleted):
                return event.result
    raise AssertionError("a follower ends with ExecutionCompleted, or raises")


def _quoted(name: str) -> str:
    return quote(name, safe="")
