"""Turns of the event loop, for tests in which nothing but tasks of the same loop is at work."""

import asyncio

MANY = 500


async def others_run() -> None:
    """Every other task has had all the turns that it needs; however slow the machine is, no clock is asked."""
    for _ in range(MANY):
        await asyncio.sleep(0)
