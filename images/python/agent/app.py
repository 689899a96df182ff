"""The agent as an ASGI application: who may call, which call it is, what a failure answers."""

import hmac
from collections.abc import Awaitable, Callable

from agent.files import FileCalls
from agent.http import AgentError, Hangup, Receive, Request, Scope, Send
from agent.kernel_calls import KernelCalls
from agent.resources import resources_of
from agent.workspace import Workspace

Call = Callable[[Request], Awaitable[None]]


class AgentApp:
    """Routes each request to the call of PROTOCOL.md that it is."""

    def __init__(self, kernel: KernelCalls, workspace: Workspace, token: str) -> None:
        self._workspace = workspace
        self._expected = f"Bearer {token}".encode() if token else None
        self._kernel = kernel
        self._files = FileCalls(workspace)
        self._calls: dict[tuple[str, bytes], Call] = {
            ("GET", b"/v1/health"): kernel.health,
            ("POST", b"/v1/executions"): kernel.execute,
            ("POST", b"/v1/interrupt"): kernel.interrupt,
            ("POST", b"/v1/restart"): kernel.restart,
            ("GET", b"/v1/files"): self._files.list,
            ("GET", b"/v1/archive"): self._files.archive,
            ("GET", b"/v1/resources"): self._resources,
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive, send)
        try:
            self._authenticate(request)
            await self._find(request)(request)
        except AgentError as error:
            await request.answer_error(error)
        except Hangup:
            await request.end()

    def _authenticate(self, request: Request) -> None:
        given = request.headers.get(b"authorization", b"")
        if self._expected is not None and not hmac.compare_digest(given, self._expected):
            raise AgentError("unauthenticated", "a bearer token is needed")

    def _find(self, request: Request) -> Call:
        call = self._calls.get((request.method, request.path))
        if call is not None:
            return call
        if request.path.startswith(b"/v1/files/"):
            return self._files.find(request.method)
        if request.path.startswith(b"/v1/executions/") and request.method == "GET":
            return self._kernel.resume
        raise AgentError("not_found", "there is no such call")

    async def _resources(self, request: Request) -> None:
        await request.answer(resources_of(self._workspace))
