"""Work beside a block ends with it, and its failure is told."""

import asyncio
import logging

import pytest

from sandbox_service.domain.beside import running_beside
from tests.support.turns import others_run


async def test_it_ends_with_the_block() -> None:
    ended = asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async with running_beside(work()):
        await others_run()
        assert not ended.is_set()
    assert ended.is_set()


async def test_its_failure_is_logged_and_the_block_goes_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def work() -> None:
        raise ValueError("broken")

    with caplog.at_level(logging.ERROR):
        async with running_beside(work()):
            await others_run()
    assert "background_work_failed" in caplog.text
    assert "broken" in caplog.text
