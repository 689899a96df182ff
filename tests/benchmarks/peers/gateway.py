"""Jupyter Kernel Gateway in a container of the image: kernels by REST, cells by websocket.

The gateway leaves Nagle's algorithm on, and its small messages then wait for the client's delayed ACKs.
A fair client acknowledges at once (TCP_QUICKACK); an ordinary one waits 40 ms for nothing.
"""

import asyncio
import contextlib
import json
import socket
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Self

import aiohttp

from tests.benchmarks.bench import Bench, Stopwatch
from tests.benchmarks.containers import address_of, running_container
from tests.benchmarks.samples import require
from tests.benchmarks.workloads import FIRST_CHART, has_chart

REQUIREMENT = "jupyter_kernel_gateway==3.0.1"
PACKAGES = Path(__file__).parents[3] / ".state" / "bench" / REQUIREMENT.replace("==", "-")
PORT = 8888
READY_S = 60
CELL_S = 60
# Its packages come last, so that the kernels are those of the image.
LAUNCH = (
    "import sys; sys.path.append('/opt/gateway'); from kernel_gateway import launch_instance; "
    "launch_instance()"
)
_OUTPUTS = frozenset({"stream", "display_data", "execute_result", "error"})


async def first_charts(bench: Bench) -> None:
    """A kernel is started, its websocket connected, and the chart's cell run; the gateway is up before."""
    async with Gateway.start(bench.image) as gateway:
        for _ in range(bench.counts.gateway_charts):
            with bench.results.failures_of("ttfc_gateway", "open_gateway"):
                watch = Stopwatch()
                async with gateway.kernel(is_fair=True) as kernel:
                    opened_ms = watch.ms()
                    outputs = await kernel.execute(FIRST_CHART)
                    total_ms = watch.ms()
                require(has_chart(outputs), "no chart")
                bench.results["open_gateway"].samples.append(opened_ms)
                bench.results["ttfc_gateway"].samples.append(total_ms)


def install_gateway() -> None:
    """Fetch the gateway's packages for the image's Python, once."""
    if PACKAGES.exists():
        return
    beside = PACKAGES.with_suffix(".new")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    where = ["--target", str(beside), "--upgrade", "--python-version", "3.13"]
    subprocess.run([*pip, *where, "--only-binary", ":all:", REQUIREMENT], check=True)
    beside.rename(PACKAGES)


class Gateway:
    """A running gateway."""

    def __init__(self, http: aiohttp.ClientSession, url: str) -> None:
        self._http = http
        self._url = url

    @classmethod
    @asynccontextmanager
    async def start(cls, image: str) -> AsyncIterator[Self]:
        await asyncio.to_thread(install_gateway)
        options = ["--env=HOME=/tmp", "--workdir=/tmp", f"--volume={PACKAGES}:/opt/gateway:ro"]
        command = ["-c", LAUNCH, "--KernelGatewayApp.ip=0.0.0.0", f"--KernelGatewayApp.port={PORT}"]
        with running_container(image, options, command) as name:
            async with aiohttp.ClientSession() as http:
                gateway = cls(http, f"http://{address_of(name)}:{PORT}")
                await gateway._await_ready()
                yield gateway

    @asynccontextmanager
    async def kernel(self, *, is_fair: bool) -> AsyncIterator["GatewayKernel"]:
        """A kernel of its own, with its websocket open; deleted at the end."""
        async with self._http.post(f"{self._url}/api/kernels", json={}) as response:
            require(response.status == 201, f"status {response.status}")
            kernel_id = (await response.json())["id"]
        url = f"{self._url}/api/kernels/{kernel_id}"
        async with self._http.ws_connect(f"{url}/channels", max_msg_size=0) as line:
            yield GatewayKernel(line, is_fair=is_fair)
        async with self._http.delete(url) as response:
            require(response.status == 204, f"status {response.status}")

    async def _await_ready(self) -> None:
        async with asyncio.timeout(READY_S):
            while True:
                with contextlib.suppress(aiohttp.ClientError):
                    async with self._http.get(f"{self._url}/api") as response:
                        if response.status == 200:
                            return
                await asyncio.sleep(0.05)


class GatewayKernel:
    """Cells over one websocket."""

    def __init__(self, line: aiohttp.ClientWebSocketResponse, *, is_fair: bool) -> None:
        self._line = line
        self._is_fair = is_fair

    async def execute(self, code: str) -> list[dict[str, Any]]:
        """Run a cell; the contents of its output messages, once its reply and its idle have both come."""
        request = _execute_request(code)
        await self._line.send_str(json.dumps(request))
        async with asyncio.timeout(CELL_S):
            return await self._outputs(request["header"]["msg_id"])

    async def _outputs(self, msg_id: str) -> list[dict[str, Any]]:
        outputs: list[dict[str, Any]] = []
        waiting_for = {"execute_reply", "idle"}
        while waiting_for:
            self._acknowledge()
            message = json.loads(await self._line.receive_str())
            if message["parent_header"].get("msg_id") != msg_id:
                continue
            kind, content = message["header"]["msg_type"], message["content"]
            waiting_for -= {kind, content.get("execution_state")}
            if kind in _OUTPUTS:
                outputs.append(content)
        return outputs

    def _acknowledge(self) -> None:
        """The kernel forgets this option, so it is set before every read."""
        if self._is_fair:
            line = self._line.get_extra_info("socket")
            line.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)


def _execute_request(code: str) -> dict[str, Any]:
    header = {
        "msg_id": uuid.uuid4().hex,
        "msg_type": "execute_request",
        "username": "bench",
        "session": "bench",
        "date": "",
        "version": "5.4",
    }
    content = {"code": code, "silent": False, "store_history": True, "allow_stdin": False}
    content |= {"user_expressions": {}, "stop_on_error": True}
    parts = {"parent_header": {}, "metadata": {}, "content": content, "buffers": []}
    return {"channel": "shell", "header": header, **parts}
