"""Turns go round: who asks often does not keep out who asks once."""

import asyncio

import pytest

from sandbox_service.sessions.turns import FairTurns


class Line:
    """Takes turns and notes in which order they came."""

    def __init__(self, places: int) -> None:
        self.turns = FairTurns(places)
        self.order: list[str] = []
        self.inside = 0
        self.most_inside = 0
        self.may_leave = asyncio.Event()

    async def visit(self, name: str) -> None:
        async with self.turns.turn(name):
            self.order.append(name)
            self.inside += 1
            self.most_inside = max(self.most_inside, self.inside)
            await self.may_leave.wait()
            self.inside -= 1


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


@pytest.mark.parametrize("places", [1, 2, 4])
async def test_no_more_than_the_places_are_inside(places: int) -> None:
    line = Line(places)
    async with asyncio.TaskGroup() as group:
        for _ in range(10):
            group.create_task(line.visit("a"))
        await settle()
        assert line.inside == places
        line.may_leave.set()
    assert line.most_inside == places


async def test_a_burst_of_one_delays_another_by_one_turn() -> None:
    line = Line(1)
    async with asyncio.TaskGroup() as group:
        for name in ["a"] * 20 + ["b"] * 2 + ["c"]:
            group.create_task(line.visit(name))
        await settle()
        line.may_leave.set()
    assert line.order[:7] == ["a", "a", "b", "c", "a", "b", "a"]


async def test_who_leaves_the_line_takes_no_place_with_it() -> None:
    line = Line(1)
    first, second, third = [asyncio.create_task(line.visit(name)) for name in "abc"]
    await settle()
    second.cancel()
    await settle()
    line.may_leave.set()
    await asyncio.gather(first, third)
    assert line.order == ["a", "c"]
    await asyncio.wait_for(line.visit("d"), 60)


async def test_a_turn_given_to_one_who_was_just_cancelled_goes_on() -> None:
    line = Line(1)
    line.may_leave.set()
    tasks = [asyncio.create_task(line.visit(name)) for name in "ab"]
    await asyncio.sleep(0)
    tasks[1].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await asyncio.wait_for(line.visit("c"), 60)


async def test_the_nameless_wait_until_nobody_else_does() -> None:
    line = Line(1)
    async with asyncio.TaskGroup() as group:
        for name in ["a", "", "", "b", "a"]:
            group.create_task(line.visit(name))
        await settle()
        line.may_leave.set()
    assert line.order == ["a", "b", "a", "", ""]


async def test_who_would_come_now_knows_how_many_rounds_are_ahead() -> None:
    line = Line(2)
    assert (line.turns.is_idle, line.turns.rounds_ahead("a")) == (True, 0)
    async with asyncio.TaskGroup() as group:
        for name in ["a"] * 12 + [""] * 3:
            group.create_task(line.visit(name))
        await settle()
        assert line.turns.rounds_ahead("a") == (10 + 1) / 2
        assert line.turns.rounds_ahead("b") == (1 + 1) / 2
        assert not line.turns.is_idle
        line.may_leave.set()
    assert line.turns.is_idle
