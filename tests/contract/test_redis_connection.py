"""The way to Redis: bounded, quick to fail, back by itself, and never with somebody else's answer."""

import asyncio
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest

from sandbox_service.domain.errors import StoreTooSlow, StoreUnavailable
from sandbox_service.store.redis import RedisConnection, open_redis
from sandbox_service.store.redis.breaker import QUIET_S, Breaker
from sandbox_service.store.redis.connection import MAX_CONNECTIONS, CallTimes, Script
from tests.contract.refusals import is_refused_at_once
from tests.support.fakes import SteppedClock
from tests.support.redis_server import RedisServer
from tests.support.slow_line import slow_line

ECHO = Script("return {KEYS[1], ARGV[1]}")


@pytest.fixture
def server() -> Iterator[RedisServer]:
    """One that may be harmed."""
    with RedisServer() as server:
        yield server


@pytest.fixture
def clock() -> SteppedClock:
    """The breaker's."""
    return SteppedClock()


@pytest.fixture
async def connection(server: RedisServer, clock: SteppedClock) -> AsyncIterator[RedisConnection]:
    async with open_redis(server.url, clock) as connection:
        yield connection


async def refusal_of(connection: RedisConnection, *command: str) -> StoreUnavailable:
    with pytest.raises(StoreUnavailable) as refusal:
        await connection.command(*(command or ("PING",)))
    assert refusal.value.retry_after_s == 1
    return refusal.value


def all_are_refused_at_once(connection: RedisConnection) -> bool:
    return all(is_refused_at_once(connection.command("PING")) for _ in range(300))


async def is_found_by_itself(connection: RedisConnection, clock: SteppedClock) -> bool:
    """After the time for which nobody asks."""
    clock.advance(QUIET_S)
    return bool(await connection.command("PING") == b"PONG")


async def test_a_server_that_is_not_there_is_refused_at_once_and_found_by_itself(
    server: RedisServer, connection: RedisConnection, clock: SteppedClock
) -> None:
    server.kill()
    await refusal_of(connection)
    assert all_are_refused_at_once(connection)
    server.start()
    assert await is_found_by_itself(connection, clock)


async def test_a_server_that_was_killed_under_calls_fails_them_and_no_later_ones(
    server: RedisServer, connection: RedisConnection, clock: SteppedClock
) -> None:
    calls = [asyncio.create_task(connection.command("BLPOP", "none", 5)) for _ in range(20)]
    await asyncio.sleep(0.1)
    server.kill()
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert {type(result) for result in results} == {StoreUnavailable}
    server.start()
    assert await is_found_by_itself(connection, clock)


async def test_connections_that_a_restart_closed_are_not_used_again(
    server: RedisServer, connection: RedisConnection
) -> None:
    """Nobody need notice a server that was away while nobody asked."""
    await asyncio.gather(*(connection.command("PING") for _ in range(20)))
    server.restart()
    await asyncio.sleep(0.05)
    answers = await asyncio.gather(*(connection.command("PING") for _ in range(50)))
    assert set(answers) == {b"PONG"}


async def test_a_server_that_stands_still_costs_one_wait_and_is_found_by_itself(
    server: RedisServer, connection: RedisConnection, clock: SteppedClock
) -> None:
    await connection.command("PING")
    server.pause()
    await asyncio.gather(*(refusal_of(connection) for _ in range(300)))
    assert all_are_refused_at_once(connection)
    server.resume()
    assert await is_found_by_itself(connection, clock)


@pytest.fixture
def tripped(clock: SteppedClock) -> tuple[Breaker, SteppedClock]:
    """A breaker after a failure just now."""
    breaker = Breaker(clock, longest_probe_s=4)
    breaker.enter()
    breaker.open(TimeoutError())
    return breaker, clock


def passes(breaker: Breaker) -> bool:
    try:
        breaker.enter()
    except StoreUnavailable:
        return False
    return True


def test_after_a_failure_one_call_asks_and_the_others_do_not(tripped) -> None:
    breaker, clock = tripped
    assert not passes(breaker)
    clock.advance(QUIET_S)
    assert [passes(breaker) for _ in range(3)] == [True, False, False]


def test_what_the_one_gets_is_for_all(tripped) -> None:
    breaker, clock = tripped
    clock.advance(QUIET_S)
    assert passes(breaker)
    breaker.open(TimeoutError())
    assert not passes(breaker)
    clock.advance(QUIET_S)
    assert passes(breaker)
    breaker.close()
    assert [passes(breaker) for _ in range(3)] == [True, True, True]


def test_a_caller_that_gives_up_asking_leaves_it_to_the_next(tripped) -> None:
    breaker, clock = tripped
    clock.advance(QUIET_S)
    assert passes(breaker)
    breaker.leave()
    clock.advance(QUIET_S)
    assert passes(breaker)


def test_one_that_never_comes_back_is_not_waited_for(tripped) -> None:
    breaker, clock = tripped
    clock.advance(QUIET_S)
    assert passes(breaker)
    clock.advance(4)
    assert passes(breaker)


async def test_a_script_that_the_server_has_forgotten_is_sent_again(
    server: RedisServer, connection: RedisConnection
) -> None:
    assert await connection.run(ECHO, "p:", "1") == [b"p:", b"1"]
    server.ask("SCRIPT FLUSH")
    assert await connection.run(ECHO, "p:", "2") == [b"p:", b"2"]
    server.restart()
    await asyncio.sleep(0.05)
    assert await connection.run(ECHO, "p:", "3") == [b"p:", b"3"]


REFUSALS = [
    ("CONFIG SET maxmemory 1", "CONFIG SET maxmemory 0"),
    ("REPLICAOF 127.0.0.1 1", "REPLICAOF NO ONE"),
    ("CONFIG SET min-replicas-to-write 1", "CONFIG SET min-replicas-to-write 0"),
]


@pytest.mark.parametrize(("cause", "cure"), REFUSALS)
async def test_a_server_that_takes_no_writes_says_so_and_is_still_read(
    server: RedisServer, connection: RedisConnection, cause: str, cure: str
) -> None:
    """OOM, READONLY, NOREPLICAS: the server is there, so nobody waits for it."""
    server.ask(cause)
    for _ in range(3):
        await refusal_of(connection, "SET", "a", "1")
        assert await connection.command("GET", "a") is None
    server.ask(cure)
    assert await connection.command("SET", "a", "1") == b"OK"


async def test_a_wrong_password_is_a_store_that_is_away(server: RedisServer) -> None:
    server.ask("CONFIG SET requirepass right")
    port = server.port
    async with open_redis(f"redis://:wrong@127.0.0.1:{port}/0") as connection:
        assert "wrong" not in (await refusal_of(connection)).message
    async with open_redis(f"redis://:right@127.0.0.1:{port}/3") as connection:
        assert await connection.command("PING") == b"PONG"


async def test_a_server_that_loads_its_file_is_away() -> None:
    async with (
        says(b"-LOADING Redis is loading the dataset in memory\r\n") as url,
        open_redis(url, SteppedClock()) as connection,
    ):
        await refusal_of(connection)
        assert all_are_refused_at_once(connection)


async def test_something_else_than_a_redis_is_a_store_that_is_away() -> None:
    async with says(b"HTTP/1.1 400 Bad Request\r\n\r\n") as url, open_redis(url) as connection:
        await refusal_of(connection)


async def test_an_address_that_nobody_has_is_a_store_that_is_away() -> None:
    async with open_redis("redis://no-such-host.invalid:1/0") as connection:
        await refusal_of(connection)


@asynccontextmanager
async def says(answer: bytes) -> AsyncIterator[str]:
    """The URL of a server that says the same to everything."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(65536):
            writer.write(answer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0"
    finally:
        server.close()


async def test_no_more_connections_than_agreed_however_many_call(
    server: RedisServer, connection: RedisConnection
) -> None:
    answers = await asyncio.gather(*(connection.command("ECHO", str(n)) for n in range(300)))
    assert answers == [str(n).encode() for n in range(300)]
    clients = (await connection.command("INFO", "clients")).decode()
    (connected,) = [line for line in clients.splitlines() if line.startswith("connected_clients")]
    assert int(connected.partition(":")[2]) <= MAX_CONNECTIONS


async def test_who_waits_for_a_connection_waits_no_longer_than_for_an_answer(
    server: RedisServer, connection: RedisConnection
) -> None:
    """Those in front are slow, not broken: who comes after them is heard at once."""
    slow = [connection.command("BLPOP", "none", 0.5) for _ in range(MAX_CONNECTIONS)]
    tasks = [asyncio.create_task(call) for call in slow]
    await asyncio.sleep(0.05)
    assert await connection.command("PING") == b"PONG"
    assert await asyncio.gather(*tasks) == [None] * MAX_CONNECTIONS


@pytest.mark.parametrize("seed", range(3))
async def test_after_hundreds_of_cancelled_calls_every_answer_is_its_own(
    server: RedisServer, connection: RedisConnection, seed: int
) -> None:
    """At every point: waiting for a connection, connecting, writing a large command, reading a large answer."""
    chance = random.Random(seed)
    keys = [f"key-{number}" for number in range(20)]
    for key in keys:
        size = chance.choice([10, 1000, 300_000])
        await connection.command("SET", key, key.encode() + b":" + b"x" * size)

    async def look(key: str) -> bool:
        value = await connection.command("GET", key)
        echo = await connection.run(ECHO, key, value)
        return value.startswith(key.encode() + b":") and echo == [key.encode(), value]

    for _ in range(15):
        tasks = [asyncio.create_task(look(chance.choice(keys))) for _ in range(60)]
        await asyncio.sleep(chance.random() * 0.05)
        for task in chance.sample(tasks, 40):
            task.cancel()
            await asyncio.sleep(chance.choice([0, 0, 0.0003]))
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(it is True or isinstance(it, asyncio.CancelledError) for it in results)
    assert all([await look(key) for key in keys])
    assert await asyncio.gather(*(look(key) for key in keys * 5)) == [True] * 100


async def test_cancelled_calls_leave_no_connection_behind(
    server: RedisServer, connection: RedisConnection
) -> None:
    for _ in range(10):
        tasks = [asyncio.create_task(connection.command("BLPOP", "none", 5)) for _ in range(50)]
        await asyncio.sleep(0.02)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    async with asyncio.timeout(60):
        while b"connected_clients:1\r\n" not in await connection.command("INFO", "clients"):
            await asyncio.sleep(0.02)


async def test_a_large_value_passes_on_a_slow_line_both_ways(server: RedisServer) -> None:
    """It has its time by its size, and its answer by what of it comes."""
    value = b"x" * 2_000_000
    times = CallTimes(call_s=1.5, slowest_bytes_per_s=50_000)
    async with (
        slow_line(server.port, bytes_per_s=1_000_000) as port,
        open_redis(f"redis://127.0.0.1:{port}/0", times=times) as connection,
    ):
        assert await connection.command("SET", "large", value) == b"OK"
        assert await connection.command("GET", "large") == value


async def test_a_large_value_that_does_not_pass_is_told_and_is_nobody_elses_failure(
    server: RedisServer,
) -> None:
    """Small calls go on beside it and behind it."""
    times = CallTimes(call_s=2, slowest_bytes_per_s=1_000_000)
    async with (
        slow_line(server.port, bytes_per_s=20_000) as port,
        open_redis(f"redis://127.0.0.1:{port}/0", times=times) as connection,
    ):
        with pytest.raises(StoreTooSlow):
            await connection.command("SET", "large", b"x" * 1_000_000)
        assert await connection.command("PING") == b"PONG"


async def test_a_subscription_ends_when_the_server_goes(
    server: RedisServer, connection: RedisConnection
) -> None:
    with pytest.raises(StoreUnavailable):
        async with connection.subscribed("news") as messages:
            await connection.command("PUBLISH", "news", "first")
            assert await anext(messages) == b"first"
            server.kill()
            await anext(messages)
