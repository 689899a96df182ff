"""A `PythonTool` over the fake service, whose every cell shows one picture and makes one file."""

import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from io import BytesIO
from typing import Any

import httpx
import PIL.Image

from runner.dispatch import PythonTool
from sandbox_service.client import SandboxClient
from tests.unit.fakes.rest_service import KEY, RestService

Output = dict[str, Any]


def png() -> bytes:
    file = BytesIO()
    PIL.Image.new("RGB", (40, 30), "red").save(file, "PNG")
    return file.getvalue()


PNG = png()
PNG_BASE64 = base64.b64encode(PNG).decode()


def draws(code: str) -> list[Output]:
    """Prints the code; shows a picture if it says `plot`."""
    text = {"output_type": "stream", "name": "stdout", "text": f"ran {code}\n"}
    data = {"image/png": PNG_BASE64, "text/plain": "<Figure>"}
    figure = {"output_type": "display_data", "data": data, "metadata": {}}
    return [text, figure] if "plot" in code else [text]


@asynccontextmanager
async def python_that_draws() -> AsyncIterator[PythonTool]:
    """A tool whose cells draw, and make `table.csv`."""
    service = RestService(new_kernel=lambda: draws)
    made = service.add_artifact("table.csv", b"a,b\n")
    service.patch = lambda execution: execution["artifacts"].append(made)
    transport = httpx.ASGITransport(app=service)
    async with (
        SandboxClient("http://service.test", KEY, transport=transport) as client,
        PythonTool(client) as python,
    ):
        yield python
