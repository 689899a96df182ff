"""Callers that behave badly: raw connections that hang up at any point, or never read."""

import asyncio
import json
import random
import socket
from dataclasses import dataclass

from tests.support.cluster import Replica

SMALL_BUFFER_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request as bytes."""

    head: bytes
    body: bytes

    @property
    def whole(self) -> bytes:
        return self.head + self.body


def request(method: str, path: str, key: str, body: object = None) -> Request:
    content = b"" if body is None else json.dumps(body).encode()
    head = (
        f"{method} {path} HTTP/1.1\r\nHost: service\r\nAuthorization: Bearer {key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
    )
    return Request(head.encode(), content)


async def hang_up(replica: Replica, sent: Request, chance: random.Random) -> str:
    """Send the request, or a part of it, read for a while or not, and be gone; where that was."""
    point = chance.choice(
        ["in the head", "in the body", "at once", "while it ran", "in the answer"]
    )
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", replica.port)
    except OSError:
        return "refused"
    try:
        writer.write(_part(sent, point, chance))
        await writer.drain()
        if point == "while it ran":
            await asyncio.sleep(chance.uniform(0, 0.5))
        if point == "in the answer":
            async with asyncio.timeout(chance.uniform(0.1, 2.0)):
                await reader.readexactly(chance.randrange(1, 4000))
    except (OSError, TimeoutError, asyncio.IncompleteReadError):
        pass
    finally:
        writer.transport.abort()
    return point


def _part(sent: Request, point: str, chance: random.Random) -> bytes:
    if point == "in the head":
        return sent.head[: chance.randrange(len(sent.head))]
    if point == "in the body":
        return sent.head + sent.body[: chance.randrange(max(1, len(sent.body)))]
    return sent.whole


def deaf_connection(replica: Replica, sent: Request) -> socket.socket:
    """A connection that has asked and never reads; its buffer is small. The caller closes it."""
    line = socket.socket()
    line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BUFFER_BYTES)
    line.connect(("127.0.0.1", replica.port))
    line.sendall(sent.whole)
    return line
