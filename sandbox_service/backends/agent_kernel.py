"""The kernel behind an agent: executions as streams of lines, interrupt and restart."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import suppress
from typing import Literal
from urllib.parse import quote

import aiohttp
import orjson
from pydantic import BaseModel, Field

from sandbox_service.backends.agent_http import (
    SHORT_S,
    AgentHttp,
    Count,
    read_chunk,
    within,
)
from sandbox_service.domain.errors import AgentViolation, InvalidRequest, SandboxLost
from sandbox_service.domain.lines import read_line
from sandbox_service.domain.ports import (
    ExecuteRequest,
    ExecutionEnd,
    ExecutionLine,
    KernelHealth,
)
from sandbox_service.domain.values import MAX_OUTPUT_BYTES, MIB

RESTART_S = 30.0
FINISH_S = 1.0
LARGE_CHUNK_BYTES = 32 * 1024
REPLACED_BUDGETS, REPLACED_BYTES = 7, 56 * MIB
ENVELOPE_FACTOR = 1.4
ENVELOPE_BYTES = 3 * MIB  # errors over budget, and the names of changed files


class AgentKernel:
    """The kernel of one sandbox, behind the `KernelConnection` port."""

    def __init__(self, http: AgentHttp) -> None:
        self._http = http

    def execute(self, request: ExecuteRequest) -> AsyncGenerator[ExecutionLine, None]:
        """Start the code (at most once per execution id) and yield its lines up to ExecutionEnd."""
        max_bytes = stream_cap(request.output_bytes)
        return self._lines("POST", "/v1/executions", _encode(request), max_bytes, seq=0)

    def resume(self, execution_id: str, after_seq: int) -> AsyncGenerator[ExecutionLine, None]:
        """Yield the lines after `after_seq` of an execution. Raises NotFound for an unknown one."""
        path = f"/v1/executions/{quote(execution_id, safe='')}?after={after_seq}"
        return self._lines("GET", path, None, stream_cap(MAX_OUTPUT_BYTES), seq=after_seq)

    async def health(self, wait_s: float = 0.0) -> KernelHealth:
        """The kernel's state; waits up to `wait_s` for it to be idle."""
        path = f"/v1/health?wait_s={wait_s:g}" if wait_s else "/v1/health"
        answer = await self._http.ask(_Health, "GET", path, timeout=within(SHORT_S + wait_s))
        return KernelHealth(answer.kernel.state, answer.kernel.incarnation)

    async def interrupt(self, execution_id: str) -> None:
        """Send SIGINT to the kernel and the processes of its group, if that execution still runs."""
        body = orjson.dumps({"execution_id": execution_id})
        await self._http.read("POST", "/v1/interrupt", body=body)

    async def restart(self, incarnation: int, execution_id: str | None = None) -> int:
        """Kill kernel number `incarnation` and fork a fresh one, if it is still the current one.

        With an `execution_id` only while that execution runs.
        """
        answer = await self._http.ask(
            _Restarted,
            "POST",
            "/v1/restart",
            body=orjson.dumps({"incarnation": incarnation, "execution_id": execution_id}),
            timeout=within(RESTART_S),
        )
        return answer.incarnation

    async def _lines(
        self, method: str, path: str, body: bytes | None, max_bytes: int, *, seq: int
    ) -> AsyncGenerator[ExecutionLine, None]:
        response = await self._http.open(method, path, body=body)
        splitter = LineSplitter(max_bytes)
        try:
            while chunk := await read_chunk(response):
                if len(chunk) > LARGE_CHUNK_BYTES:
                    await asyncio.sleep(0)  # what comes without a pause leaves others their turn
                for raw in splitter.feed(chunk):
                    line = await read_line(raw)
                    if line is None:
                        continue
                    seq = _next_seq(seq, line.seq)
                    yield line
                    if isinstance(line, ExecutionEnd):
                        await _finish(response)
                        return
        finally:
            response.close()
        raise SandboxLost("The line to the sandbox ended before the execution did.")


class _KernelState(BaseModel):
    state: Literal["starting", "idle", "busy", "dead"]
    incarnation: Count


class _Health(BaseModel):
    kernel: _KernelState


class _Restarted(BaseModel):
    incarnation: Count = Field(ge=1)


class LineSplitter:
    """Cuts a stream into lines; costs linear time however long a line is."""

    def __init__(self, max_bytes: int) -> None:
        self._carry: list[bytes] = []
        self._size = 0
        self._max_bytes = max_bytes

    def feed(self, chunk: bytes) -> list[bytes]:
        """The lines that `chunk` completes. Raises AgentViolation past the stream's bound."""
        self._size += len(chunk)
        if self._size > self._max_bytes:
            raise AgentViolation(f"The execution's messages exceed {self._max_bytes} bytes.")
        lines = chunk.split(b"\n")
        rest = lines.pop()
        if lines and self._carry:
            self._carry.append(lines[0])
            lines[0] = b"".join(self._carry)
            self._carry.clear()
        if rest:
            self._carry.append(rest)
        return lines


def stream_cap(output_bytes: int) -> int:
    """The most bytes of an execution's stream: its budget, what it replaces, and the lines' own frame."""
    replaced = min(output_bytes * REPLACED_BUDGETS, REPLACED_BYTES)
    return int((output_bytes + replaced) * ENVELOPE_FACTOR) + ENVELOPE_BYTES


def _next_seq(seq: int, next_seq: int) -> int:
    if next_seq <= seq:
        raise AgentViolation("The sandbox's agent repeated itself.")
    return next_seq


async def _finish(response: aiohttp.ClientResponse) -> None:
    """Read the end of the body, so that the connection can serve the next call.

    An agent that owes it, or says more, loses the connection; the execution is over either way.
    """
    with suppress(TimeoutError, SandboxLost):
        async with asyncio.timeout(FINISH_S):
            await read_chunk(response)


def _encode(request: ExecuteRequest) -> bytes:
    try:
        return orjson.dumps(
            {
                "id": request.execution_id,
                "code": request.code,
                "output_bytes": request.output_bytes,
            }
        )
    except orjson.JSONEncodeError as error:
        raise InvalidRequest("The code is not valid Unicode text.", param="code") from error
