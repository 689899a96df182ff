"""The calls about the kernel: health, executions as streams of lines, interrupt, restart."""

import asyncio
import contextlib
import re
from typing import Any

from agent.execution import Execution
from agent.http import AgentError, Request
from agent.kernel import KernelHouse, KernelUnavailable

AGENT_VERSION = "1"
CODE_BYTES = 8 * 1024 * 1024
_BODY_BYTES = 6 * CODE_BYTES + 4096  # JSON may spell a byte as \u00XX
_PIECE_BYTES = 256 * 1024
_PING_S = 10.0
_NDJSON = b"application/x-ndjson"
_PING = b'{"kind":"ping"}\n'
_ID = re.compile(r"[A-Za-z0-9_.-]{1,128}")
_MAX_WAIT_S = 60.0


class KernelCalls:
    """Each method answers one call of PROTOCOL.md."""

    def __init__(self, kernel: KernelHouse) -> None:
        self._kernel = kernel

    async def health(self, request: Request) -> None:
        wait_s = _seconds(request.argument("wait_s"))
        if wait_s > 0:
            await self._kernel.wait_idle(wait_s)
        await request.answer(
            {
                "agent_version": AGENT_VERSION,
                "kernel": {"state": self._kernel.state, "incarnation": self._kernel.incarnation},
                "executions": self._kernel.executions.report(),
            }
        )

    async def execute(self, request: Request) -> None:
        body = await request.read_object(_BODY_BYTES)
        execution_id, code, output_bytes = _checked(body)
        execution = self._kernel.executions.get(execution_id)
        if execution is None:
            execution = Execution(execution_id, output_bytes)
            try:
                self._kernel.execute(execution, code)
            except KernelUnavailable as error:
                raise AgentError("kernel_unavailable", str(error)) from None
        await _stream(request, execution, after=0)

    async def resume(self, request: Request) -> None:
        execution_id = request.path.removeprefix(b"/v1/executions/").decode("latin-1")
        execution = self._kernel.executions.get(execution_id)
        if execution is None:
            raise AgentError("not_found", "there is no such execution")
        after = request.argument("after") or "0"
        if not after.isdecimal():
            raise AgentError("invalid_request", "after must be a number")
        await _stream(request, execution, min(int(after), execution.last_seq))

    async def interrupt(self, request: Request) -> None:
        if self._runs((await request.read_object(4096)).get("execution_id")):
            self._kernel.interrupt()
        await request.answer({})

    async def restart(self, request: Request) -> None:
        body = await request.read_object(4096)
        incarnation = body.get("incarnation")
        if not isinstance(incarnation, int):
            raise AgentError("invalid_request", "incarnation must be a number")
        if not self._runs(body.get("execution_id")):
            incarnation = 0  # never the current one: nothing is killed
        try:
            current = await self._kernel.restart(incarnation)
        except KernelUnavailable as error:
            raise AgentError("kernel_unavailable", str(error)) from None
        await request.answer({"incarnation": current})

    def _runs(self, execution_id: Any) -> bool:
        """Whether a call that is about this execution, None meaning any, still has its object."""
        running = self._kernel.executions.running()
        return execution_id is None or [one.id for one in running[:1]] == [execution_id]


async def _stream(request: Request, execution: Execution, after: int) -> None:
    """Send the lines after seq `after` as they come, to the end or until the reader has gone."""
    await request.start(200, _NDJSON)
    news = execution.subscribe()
    gone = asyncio.ensure_future(request.gone())
    gone.add_done_callback(lambda _: news.set())
    try:
        while not gone.done():
            news.clear()
            lines, after = execution.read(after, _PIECE_BYTES)
            if lines:
                await request.piece(lines)
            elif execution.is_finished:
                break
            else:
                await _news_or_ping(request, news)
    finally:
        execution.unsubscribe(news)
        gone.cancel()
    await request.end()


async def _news_or_ping(request: Request, news: asyncio.Event) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_PING_S):
            await news.wait()
            return
    await request.piece(_PING)


def _checked(body: dict[str, Any]) -> tuple[str, str, int]:
    execution_id, code = body.get("id"), body.get("code")
    output_bytes = body.get("output_bytes")
    if not isinstance(execution_id, str) or not _ID.fullmatch(execution_id):
        raise AgentError("invalid_request", "id must be 1 to 128 of A-Za-z0-9_.-")
    if not isinstance(code, str) or len(code.encode(errors="surrogatepass")) > CODE_BYTES:
        raise AgentError("invalid_request", f"code must be text of at most {CODE_BYTES} bytes")
    if not isinstance(output_bytes, int) or output_bytes < 0:
        raise AgentError("invalid_request", "output_bytes must be a number")
    return execution_id, code, output_bytes


def _seconds(text: str | None) -> float:
    try:
        return min(float(text or 0), _MAX_WAIT_S)
    except ValueError:
        raise AgentError("invalid_request", "wait_s must be a number of seconds") from None
