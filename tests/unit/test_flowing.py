"""Long JSON is made in pieces: nobody waits for a whole page of somebody else's."""

import asyncio
from collections.abc import Iterator

import httpx
import orjson
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sandbox_service.api.flowing import flowing_json
from sandbox_service.api.streams import Pace

FRAME = {"object": "list", "has_more": False}


def client_of(items: Iterator[object]) -> httpx.AsyncClient:
    async def page(request: Request) -> Response:
        request.scope.setdefault("state", {})["request_id"] = "req_1"
        return flowing_json(FRAME, "data", items, Pace())

    app = Starlette(routes=[Route("/", page)])
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service")


@pytest.mark.parametrize("count", [0, 1, 3, 100])
async def test_the_pieces_make_one_object(count: int) -> None:
    items = [{"id": n, "text": "x" * 3000} for n in range(count)]
    async with client_of(iter(items)) as client:
        answer = await client.get("/")
    assert orjson.loads(answer.content) == {**FRAME, "data": items}


async def test_others_get_their_turn_while_a_long_page_is_made() -> None:
    """Each item is made when it is due, not before."""
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    def items() -> Iterator[str]:
        for _ in range(100):
            seen.append(turns)
            yield "x" * 100_000

    seen: list[int] = []
    beside = asyncio.create_task(other())
    async with client_of(items()) as client:
        await client.get("/")
    beside.cancel()
    assert len(set(seen)) > 50
