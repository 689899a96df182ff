"""The way to one Redis that all of a service process shares: bounded, quick to fail, never used dirty.

redis-py's `Connection` speaks the protocol; its client and pools are left out. A call that is cancelled there
while it gives its connection back loses the connection for good, a cancellation that comes while a command
is being written can get lost, and a command may be sent twice without a word. Here a connection is kept
for the next call only after the whole answer to its last command was read; in every other case it is closed.

Nothing is sent twice, but for one case: NOSCRIPT means that nothing was run, so the script follows in full.
"""

import asyncio
import hashlib
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cached_property
from typing import Any

from redis.asyncio.connection import AbstractConnection, Connection, parse_url
from redis.exceptions import NoScriptError, RedisError, ResponseError

from sandbox_service.domain.clock import SystemClock
from sandbox_service.domain.errors import StoreUnavailable
from sandbox_service.domain.ports import Clock
from sandbox_service.store.redis.breaker import Breaker
from sandbox_service.store.redis.failures import is_refusal, unavailable

logger = logging.getLogger(__name__)

MAX_CONNECTIONS = 32
KEPT_IDLE = 8
CONNECT_S = 1.0
CALL_S = 2.0
PING_EVERY_S = 10.0
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


class RedisConnection:
    """Calls to one server, each raising StoreUnavailable when it does not answer, at once or after CALL_S."""

    def __init__(self, url: str, clock: Clock | None = None) -> None:
        self._options = _options(url)
        self._breaker = Breaker(clock or SystemClock(), longest_probe_s=2 * CALL_S)
        self._room = asyncio.Semaphore(MAX_CONNECTIONS)
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
        self._breaker.check()
        await self._wait_for_room()
        try:
            self._breaker.enter()
            try:
                answer = await self._exchange(arguments, script)
            except (RedisError, OSError, TimeoutError) as error:
                raise self._failed(error) from error
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
            async with asyncio.timeout(CALL_S):
                await self._room.acquire()
        except TimeoutError as error:
            raise unavailable(error) from error

    async def _exchange(self, arguments: tuple[Argument, ...], script: Script | None) -> Any:
        connection = self._take()
        is_clean = False
        try:
            answer = await self._ask(connection, arguments, script)
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
    ) -> Any:
        async with asyncio.timeout(CALL_S):
            await connection.connect()  # type: ignore[no-untyped-call]
            await connection.send_command(*arguments)
            try:
                return await connection.read_response()
            except NoScriptError:
                if script is None:
                    raise
            await connection.send_command("EVAL", script.text, *arguments[2:])
            return await connection.read_response()

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

    def _failed(self, error: Exception) -> StoreUnavailable:
        """Count what says that the server is away; what it refuses by itself says that it is there."""
        if is_refusal(error):
            self._breaker.close()
        else:
            self._breaker.open(error)
            self._drop_idle()
        return unavailable(error)

    def _drop_idle(self) -> None:
        """When one connection broke, the others are likely to be broken too."""
        while self._idle:
            _drop(self._idle.pop())


@asynccontextmanager
async def open_redis(url: str, clock: Clock | None = None) -> AsyncIterator[RedisConnection]:
    """The way to the Redis that `url` names (redis://, rediss://, unix://); it need not be there yet."""
    connection = RedisConnection(url, clock)
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
