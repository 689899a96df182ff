"""MCP over HTTP, for both protocol eras: every exchange is complete in itself.

Nothing is kept between two requests, so any process of a service can take any of them. The id that
a client of the older era gets names no state: it only tells its calls from those of other clients.
"""

import json
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.shared.inbound import MCP_PROTOCOL_VERSION_HEADER
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sandbox_service.client import NO_RETRIES, SandboxClient
from sandbox_service.domain.ids import looks_like, new_id
from sandbox_service.domain.json_values import escaped_line_breaks
from sandbox_service.mcp.calls import Place
from sandbox_service.mcp.in_process import InProcessTransport
from sandbox_service.mcp.server import Context, create_server
from sandbox_service.mcp.sessions import NamedSessions
from sandbox_service.mcp.slips import CallName, Slips
from sandbox_service.mcp.tools import definitions

MOST_BODY_BYTES = 16 * 1024 * 1024
"""Of one request: an uploaded file, in base64."""
SMALL_BODY_BYTES = 64 * 1024
SESSION_HEADER = "mcp-session-id"
_EVENTS = b"text/event-stream"
OUR_HOST = "http://service"


class Exchanges:
    """Answers the requests that come to `/mcp`, by calling the service `app` that it is part of."""

    most_body_bytes = MOST_BODY_BYTES

    def __init__(self, app: ASGIApp, directory: Path, public_url: str | None) -> None:
        self._app = app
        self._public_url = public_url
        self._slips = Slips(directory)
        self._server = create_server(definitions(), self._open_place, keeps_session=False)
        # They tell at length what they start, stop and send, which here is for each request.
        for talkative in ("mcp", "httpx"):
            logging.getLogger(talkative).setLevel(logging.WARNING)

    def take(self, request: Request, body: bytes) -> Response:
        """The answer to a request whose key was accepted."""
        is_older = request.headers.get(MCP_PROTOCOL_VERSION_HEADER) not in MODERN_PROTOCOL_VERSIONS
        message = _small_message(body)
        if is_older and message.get("method") == "notifications/cancelled":
            self._cancel(request, message)
        session_id = new_id("mcp") if is_older and message.get("method") == "initialize" else None
        # Clients take one MiB as an event of a stream; a body of JSON may be as large as a file is.
        is_plain = message.get("method") == "resources/read"
        return _Exchange(self, body, session_id, is_plain=is_plain)

    async def serve(self, scope: Scope, receive: Receive, send: Send, *, is_plain: bool) -> None:
        """One exchange with a manager of its own, which ends with it; `is_plain` answers without a stream."""
        manager = StreamableHTTPSessionManager(
            self._server,
            json_response=is_plain,
            stateless=True,
            max_request_body_size=MOST_BODY_BYTES,
        )
        try:
            async with manager.run():
                await manager.handle_request(scope, receive, send)
        except* ClientDisconnect:
            raise ClientDisconnect from None

    def _cancel(self, request: Request, message: dict[str, Any]) -> None:
        params = message.get("params")
        request_id = params.get("requestId") if isinstance(params, dict) else None
        name = _call_name(request, request_id)
        if name is not None:
            self._slips.take_away(name)

    @asynccontextmanager
    async def _open_place(self, context: Context) -> AsyncIterator[Place]:
        request = context.request
        assert isinstance(request, Request)
        key = request.headers["authorization"].partition(" ")[2].strip()
        transport = InProcessTransport(self._app, request.scope)
        async with AsyncExitStack() as stack:
            if context.protocol_version not in MODERN_PROTOCOL_VERSIONS:
                name = _call_name(request, context.request_id)
                if name is not None:
                    await stack.enter_async_context(self._slips.cancellable(name))
            # There is no connection that could break: what fails here fails again.
            client = SandboxClient(OUR_HOST, key, transport=transport, retries=NO_RETRIES)
            await stack.enter_async_context(client)
            base_url = self._public_url or str(request.base_url)
            yield Place(client, NamedSessions(client), base_url.rstrip("/"), keeps_session=False)


class _Exchange(Response):
    """One request and its answer, with the body as it was read already."""

    def __init__(
        self, exchanges: Exchanges, body: bytes, session_id: str | None, *, is_plain: bool
    ) -> None:
        super().__init__()
        self._exchanges = exchanges
        self._request_body: bytes | None = body
        self._session_id = session_id
        self._is_plain = is_plain

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def receive_again() -> Message:
            body, self._request_body = self._request_body, None
            if body is None:
                return await receive()
            return {"type": "http.request", "body": body, "more_body": False}

        sender = self._sender(send)
        await self._exchanges.serve(scope, receive_again, sender, is_plain=self._is_plain)

    def _sender(self, send: Send) -> Send:
        """Adds the session's id to the answer's head; each event of a stream stays one line."""
        is_stream = False

        async def send_as_ours(message: Message) -> None:
            nonlocal is_stream
            if message["type"] == "http.response.start":
                headers = list(message.get("headers", ()))
                is_stream = any(value.startswith(_EVENTS) for _, value in headers)
                if self._session_id:
                    headers.append((SESSION_HEADER.encode(), self._session_id.encode()))
                message["headers"] = headers
            elif is_stream and "body" in message:
                message["body"] = escaped_line_breaks(message["body"])
            await send(message)

        return send_as_ours


def _small_message(body: bytes) -> dict[str, Any]:
    """The message, if it is a small one: what is looked for here always is."""
    if len(body) > SMALL_BODY_BYTES:
        return {}
    try:
        message = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return message if isinstance(message, dict) else {}


def _call_name(request: Request, request_id: object) -> CallName | None:
    """The call's name among those of its client; None for a client that has no id of ours."""
    client_session = request.headers.get(SESSION_HEADER, "")
    if not looks_like("mcp", client_session) or not isinstance(request_id, str | int):
        return None
    return CallName(request.headers.get("authorization", ""), client_session, request_id)
