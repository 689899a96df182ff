"""The floor: raw `jupyter_client` over ipc to a bare ipykernel, both inside one container of the image."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Self

from tests.benchmarks.containers import docker_run
from tests.benchmarks.samples import require

SCRIPT = Path(__file__).with_name("inside_floor.py")
READY_S = 60


class Floor:
    """Measures itself, inside; here it is only told how often."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._in = process.stdin
        self._out = process.stdout

    @classmethod
    @asynccontextmanager
    async def start(cls, image: str) -> AsyncIterator[Self]:
        options = ["--interactive", "--network=none", "--env=HOME=/tmp"]
        options.append(f"--volume={SCRIPT}:/floor.py:ro")
        process = await asyncio.create_subprocess_exec(
            *docker_run(image, options, ["/floor.py"]),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        floor = cls(process)
        try:
            require(await floor._line() == b"ready\n", "the bare kernel did not start")
            yield floor
        finally:
            floor._in.close()
            await process.wait()

    async def prints(self, count: int) -> list[float]:
        """Milliseconds of `count` cells."""
        self._in.write(b"%d\n" % count)
        samples: list[float] = json.loads(await self._line())
        return samples

    async def _line(self) -> bytes:
        return await asyncio.wait_for(self._out.readline(), READY_S)
