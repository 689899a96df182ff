"""The way to one Redis that all of a service process shares: bounded, quick to fail, never used dirty.

redis-py's `Connection` speaks the protocol; its client and pools are left out. A call that is cancelled there
while it gives its connection back loses the connection for good, a cancellation that comes while a command
is being written can get lost, and a command may be sent twice without a word. Here a connection is kept
for the next call only after the whole answer to its last command was read; in every other case it is closed.

Nothing is sent twice, but for one case: NOSCRIPT means that nothing was run, so the script follows in full.

A call has its time by what it carries, so that a large value passes on a slow line: `CallTimes`. A large value that
did not pass says nothing of the server: small calls say whether that is there.
"""

import asyncio
import hashlib
import logging
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from redis.asyncio.connection import AbstractConnection, Connection, parse_url
from redis.exceptions import NoScriptError, RedisError, ResponseError

from sandbox_service.domain.clock import SystemClock
from sandbox_service.domain.errors import StoreUnavailable
from sandbox_service.domain.ports import Clock
from sandbox_service.store.redis.breaker import Breaker
from sandbox_service.store.redis.failures import is_refusal, too_slow, unavailable

logger = logging.getLogger(__name__)

MAX_CONNECTIONS = 32
KEPT_IDLE = 8
CONNECT_S = 1.0
PING_EVERY_S = 10.0
LARGE_BYTES = 256 * 1024
LARGE_AT_ONCE = 4
PIECE_BYTES = 64 * 1024
ON_ITS_WAY_BYTES = 4 * 1024 * 1024
Argument = str | bytes | int | float


def prefix_of(instance: str) -> str:
    """What all keys of one service begin with."""
    return f"sandbox:{instance}:"


class Script:
    """A Lua script. Every argument is in ARGV, the keys' prefix in KEYS[1]."""

    def __init__(self, text: str) -> None:
        self.text = text

    @cached_property
    def sha(self) -> str:
        return hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()


@dataclass(frozen=True, slots=True)
class CallTimes:
    """What is sent has `call_s` and a second for each `slowest_bytes_per_s`, piece by piece.

    An answer may take as long as it likes while something of it comes every `call_s`.
    """

    call_s: float = 2.0
    slowest_bytes_per_s: int = 64 * 1024

    def due_s(self, size_bytes: int) -> float:
        return self.call_s + size_bytes / self.slowest_bytes_per_s


class RedisConnection:
    """Calls to one server, each raising StoreUnavailable when it does not answer, at once or after its time."""

    def __init__(
        self, url: str, clock: Clock | None = None, times: CallTimes | None = None
    ) -> None:
        self._options = _options(url)
        self._times = times or CallTimes()
        self._breaker = Breaker(clock or SystemClock(), longest_probe_s=2 * self._times.call_s)
        self._room = asyncio.Semaphore(MAX_CONNECTIONS)
        self._room_for_large = asyncio.Semaphore(LARGE_AT_ONCE)  # leaves connections for the others
        self._idle: list[AbstractConnection] = []
        self._is_closed = False

    async def command(self, *arguments: Argument) -> Any:
        """The answer to one command."""
        return await self._guarded(arguments, None)

    async def run(self, script: Script, prefix: str, *arguments: Argument) -> Any:
        """The answer of a script, which is one atomic step."""
        return await self._guarded(("EVALSHA", script.sha, 1, prefix, *arguments), script)

    @asynccontextmanager
    async def subscribed(self, channel: str) -> AsyncIterator[AsyncIterator[bytes]]:
        """The messages of a channel, over a connection of its own. Raises StoreUnavailable, also in between."""
        connection = self._make()
        try:
            await self._ask(connection, ("SUBSCRIBE", channel))
            yield _messages(connection)
        except (RedisError, OSError, TimeoutError) as error:
            raise unavailable(error) from error
        finally:
            _drop(connection)

    async def close(self) -> None:
        self._is_closed = True
        while self._idle:
            await self._idle.pop().disconnect()

    async def _guarded(self, arguments: tuple[Argument, ...], script: Script | None) -> Any:
        """One call, through the breaker."""
        size = sum(len(word) for word in arguments if isinstance(word, str | bytes))
        if size <= LARGE_BYTES:
            return await self._in_room(arguments, script, size)
        self._breaker.check()
        async with self._room_for_large:
            return await self._in_room(arguments, script, size)

    async def _in_room(
        self, arguments: tuple[Argument, ...], script: Script | None, size: int
    ) -> Any:
        self._breaker.check()
        await self._wait_for_room()
        try:
            self._breaker.enter()
            try:
                answer = await self._exchange(arguments, script, size)
            except (RedisError, OSError, TimeoutError) as error:
                raise self._failed(error, size) from error
            except BaseException:
                self._breaker.leave()
                raise
            self._breaker.close()
            return answer
        finally:
            self._room.release()

    async def _wait_for_room(self) -> None:
        """A load that needs more than MAX_CONNECTIONS waits, but no longer than a call may take."""
        try:
            async with asyncio.timeout(self._times.call_s):
                await self._room.acquire()
        except TimeoutError as error:
            raise unavailable(error) from error

    async def _exchange(
        self, arguments: tuple[Argument, ...], script: Script | None, size: int
    ) -> Any:
        connection = self._take()
        is_clean = False
        try:
            answer = await self._ask(connection, arguments, script, size)
            is_clean = True
        except ResponseError:
            is_clean = True
            raise
        finally:
            if is_clean and connection.is_connected and self._keeps_one_more:
                self._idle.append(connection)
            else:
                _drop(connection)
        return answer

    @property
    def _keeps_one_more(self) -> bool:
        """After a rush the connections go that nobody needs in quiet times."""
        return not self._is_closed and len(self._idle) < KEPT_IDLE

    async def _ask(
        self,
        connection: AbstractConnection,
        arguments: tuple[Argument, ...],
        script: Script | None = None,
        size: int = 0,
    ) -> Any:
        async with asyncio.timeout(self._times.call_s) as due:
            await connection.connect()  # type: ignore[no-untyped-call]
            with _Progress.watched(connection, due, self._times.call_s):
                return await self._answer(connection, arguments, script, due, size)

    async def _answer(
        self,
        connection: AbstractConnection,
        arguments: tuple[Argument, ...],
        script: Script | None,
        due: asyncio.Timeout,
        size: int,
    ) -> Any:
        await self._send(connection, arguments, due, size)
        try:
            return await connection.read_response()
        except NoScriptError:
            if script is None:
                raise
        await self._send(connection, ("EVAL", script.text, *arguments[2:]), due, size)
        return await connection.read_response()

    async def _send(
        self,
        connection: AbstractConnection,
        arguments: tuple[Argument, ...],
        due: asyncio.Timeout,
        size: int,
    ) -> None:
        """What is large goes in pieces, each with its time: a server that stands still is noticed soon."""
        if size <= LARGE_BYTES:
            _give_time(due, self._times.due_s(size))
            await connection.send_command(*arguments)
            return
        for piece in _pieces(connection.pack_command(*arguments)):
            _give_time(due, self._times.due_s(len(piece)))
            await connection.send_packed_command(piece)
        # The system has taken it; some of it is still on its way.
        _give_time(due, self._times.due_s(min(size, ON_ITS_WAY_BYTES)))

    def _take(self) -> AbstractConnection:
        """A connection that is not known to be broken; one that the server has closed is not taken."""
        while self._idle:
            connection = self._idle.pop()
            if not _is_over(connection):
                return connection
            _drop(connection)
        return self._make()

    def _make(self) -> AbstractConnection:
        options = dict(self._options)
        kind: type[AbstractConnection] = options.pop("connection_class", Connection)
        return kind(**options)

    def _failed(self, error: Exception, size: int) -> StoreUnavailable:
        """Count what says that the server is away; what it refuses by itself says that it is there."""
        if is_refusal(error):
            self._breaker.close()
        elif isinstance(error, TimeoutError) and size > LARGE_BYTES:
            self._breaker.leave()
            return too_slow()
        else:
            self._breaker.open(error)
            self._drop_idle()
        return unavailable(error)

    def _drop_idle(self) -> None:
        """When one connection broke, the others are likely to be broken too."""
        while self._idle:
            _drop(self._idle.pop())


class _Progress:
    """What redis-py's parser reads from: each piece that comes gives the call that is `due` its time anew."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self._reader = reader
        self._due: asyncio.Timeout | None = None
        self._seconds = 0.0

    @classmethod
    @contextmanager
    def watched(
        cls, connection: AbstractConnection, due: asyncio.Timeout, seconds: float
    ) -> Iterator[None]:
        parser: Any = connection._parser
        if not isinstance(parser._stream, cls):
            parser._stream = cls(parser._stream)
        stream: _Progress = parser._stream
        stream._due, stream._seconds = due, seconds
        try:
            yield
        finally:
            stream._due = None

    async def read(self, size: int) -> bytes:
        piece = await self._reader.read(size)
        if self._due is not None and not self._due.expired():
            _give_time(self._due, self._seconds)
        return piece

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reader, name)


def _pieces(packed: Iterable[bytes]) -> Iterator[bytes]:
    for part in packed:
        for start in range(0, len(part), PIECE_BYTES):
            yield part[start : start + PIECE_BYTES]


def _give_time(due: asyncio.Timeout, seconds: float) -> None:
    due.reschedule(asyncio.get_running_loop().time() + seconds)


@asynccontextmanager
async def open_redis(
    url: str, clock: Clock | None = None, times: CallTimes | None = None
) -> AsyncIterator[RedisConnection]:
    """The way to the Redis that `url` names (redis://, rediss://, unix://); it need not be there yet."""
    connection = RedisConnection(url, clock, times)
    try:
        yield connection
    finally:
        await connection.close()


def _options(url: str) -> dict[str, Any]:
    """For redis-py's connections: no retries of theirs, no timeouts but around the whole call, no pushes."""
    options: dict[str, Any] = {
        "client_name": "sandbox-service",
        "driver_info": None,
        "protocol": 2,
        **parse_url(url),
        "socket_timeout": None,
        "socket_connect_timeout": CONNECT_S,
    }
    for option in ("max_connections", "timeout", "retry_on_timeout", "decode_responses"):
        options.pop(option, None)
    return options


def _is_over(connection: AbstractConnection) -> bool:
    """Whether the server has closed it, or said something that nobody asked for."""
    reader = connection._reader
    return reader is None or reader.at_eof() or bool(reader._buffer)  # type: ignore[attr-defined]


def _drop(connection: AbstractConnection) -> None:
    """Close it without waiting for anything."""
    connection._close()  # type: ignore[no-untyped-call]


async def _messages(connection: AbstractConnection) -> AsyncIterator[bytes]:
    """What is published, for as long as the server answers pings in between."""
    is_silent = False
    while True:
        answer = await connection.read_response(timeout=PING_EVERY_S)
        if answer is None and is_silent:
            raise TimeoutError("no answer to a ping")
        is_silent = answer is None
        if answer is None:
            await connection.send_command("PING")
        elif answer[0] == b"message":
            yield answer[2]
