"""A real agent as a local process, and the calls of its protocol as a test says them."""

import asyncio
import contextlib
import io
import json
import os
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp
from yarl import URL

AGENT = Path(__file__).parents[3] / "images" / "python" / "agent"
OUTPUT_BYTES = 8 * 1024 * 1024
Line = dict[str, Any]


@dataclass
class AgentProcess:
    """One running agent: its folder, its process and a client."""

    root: Path
    process: asyncio.subprocess.Process
    client: aiohttp.ClientSession

    @property
    def workspace(self) -> Path:
        return self.root / "workspace"

    async def call(self, method: str, path: str, body: Any = None) -> tuple[int, bytes]:
        """One call; the path is sent exactly as given."""
        encoded = json.dumps(body).encode() if isinstance(body, dict) else body
        data = None if encoded is None else io.BytesIO(encoded)
        url = URL("http://agent/v1/" + path, encoded=True)
        async with self.client.request(method, url, data=data) as response:
            return response.status, await response.read()

    async def value(self, method: str, path: str, body: Any = None) -> Any:
        status, answer = await self.call(method, path, body)
        assert status == 200, answer
        return json.loads(answer)

    async def lines(
        self, code: str, *, execution_id: str = "", output_bytes: int = OUTPUT_BYTES
    ) -> AsyncIterator[Line]:
        """Run code and yield its lines as they come."""
        body = {"id": execution_id or uuid4().hex, "code": code, "output_bytes": output_bytes}
        url = "http://agent/v1/executions"
        async with self.client.post(url, data=json.dumps(body).encode()) as response:
            assert response.status == 200, await response.text()
            rest = b""
            async for piece in response.content.iter_any():
                *whole, rest = (rest + piece).split(b"\n")
                for line in whole:
                    yield json.loads(line)
            assert rest == b""

    async def run(self, code: str, **options: Any) -> "Result":
        return Result([line async for line in self.lines(code, **options)])

    async def resume(self, execution_id: str, after: int) -> "Result":
        status, body = await self.call("GET", f"executions/{execution_id}?after={after}")
        assert status == 200, body
        return Result([json.loads(line) for line in body.splitlines()])

    async def kernel(self, wait_s: float = 20) -> Line:
        kernel: Line = (await self.value("GET", f"health?wait_s={wait_s}"))["kernel"]
        return kernel

    async def restart(self) -> int:
        incarnation = (await self.kernel())["incarnation"]
        answer = await self.value("POST", "restart", {"incarnation": incarnation})
        return int(answer["incarnation"])


class Result:
    """All lines of an execution, and what a reader makes of them."""

    def __init__(self, lines: list[Line]) -> None:
        self.lines = [line for line in lines if line["kind"] != "ping"]

    @property
    def end(self) -> Line:
        assert self.lines[-1]["kind"] == "end"
        return self.lines[-1]

    @property
    def gaps(self) -> list[Line]:
        return [line for line in self.lines if line["kind"] == "gap"]

    def contents(self, msg_type: str) -> list[Any]:
        return [
            line["content"]
            for line in self.lines
            if line["kind"] == "message" and line["header"]["msg_type"] == msg_type
        ]

    @property
    def text(self) -> str:
        return "".join(content["text"] for content in self.contents("stream"))

    @property
    def status(self) -> str:
        return str(self.contents("execute_reply")[0]["status"])

    @property
    def error(self) -> str:
        return str(self.contents("error")[0]["ename"])

    @property
    def changed(self) -> dict[str, int]:
        return {file["name"]: file["size"] for file in self.end["changed"]}


@contextlib.asynccontextmanager
async def running_agent(root: Path) -> AsyncIterator[AgentProcess]:
    """Start an agent in an empty folder; everything that it started is gone afterwards."""
    for name in ("workspace", "home", "tmp"):
        (root / name).mkdir()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-I", str(AGENT), env=_environment(root)
    )
    connector = aiohttp.UnixConnector(str(root / "agent.sock"))
    async with aiohttp.ClientSession(connector=connector) as client:
        try:
            await _until_listening(root / "agent.sock", process)
            yield AgentProcess(root, process, client)
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            await process.wait()


def _environment(root: Path) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(root / "home"),
        "TMPDIR": str(root / "tmp"),
        "SANDBOX_AGENT_LISTEN": f"unix://{root}/agent.sock",
        "SANDBOX_AGENT_WORKSPACE": str(root / "workspace"),
        "SANDBOX_AGENT_RUN_DIR": str(root / "run"),
        "SANDBOX_AGENT_KERNEL_PYTHON": sys.executable,
    }


async def _until_listening(path: Path, process: asyncio.subprocess.Process) -> None:
    while not os.access(path, os.W_OK):
        assert process.returncode is None
        await asyncio.sleep(0.02)
