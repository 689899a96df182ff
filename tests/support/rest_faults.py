"""What can stand between the client and the service, named by how it fails; and what keeps keys."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx

from tests.unit.fakes.rest_service import KEY, FakeSession, RestService

Answer = Callable[[httpx.Request], Awaitable[httpx.Response]]


class KeepsKeys(RestService):
    """The service with Idempotency-Key: same key and body, same answer, once; else refused.

    Its one-call route answers with events, and it has the routes that the other one lacks.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.keys: list[str | None] = []
        self._described: dict[str, dict[str, Any]] = {}
        self._kept: dict[str, tuple[bytes, tuple[int, str, bytes]]] = {}

    def _answer(self, scope: Any, path: str, body: bytes) -> tuple[int, str, bytes]:
        if scope["method"] != "POST":
            return self._further(scope["method"], path) or super()._answer(scope, path, body)
        sent = dict(scope["headers"]).get(b"idempotency-key")
        self.keys.append(sent.decode() if sent else None)
        if sent is None:
            return super()._answer(scope, path, body)
        return self._once(f"{path} {sent.decode()}", scope, path, body)

    def add_artifact(self, path: str, content: bytes) -> dict[str, Any]:
        made = super().add_artifact(path, content)
        self._described[made["id"]] = made
        return made

    def _further(self, method: str, path: str) -> tuple[int, str, bytes] | None:
        match [method, *path.strip("/").split("/")]:
            case ["GET", "v1", "sessions", session_id, "executions"]:
                return _json({"data": self._live(session_id).executions})
            case ["GET", "v1", "sessions", session_id, "archive"]:
                return 200, "application/x-tar", b"".join(self._live(session_id).files.values())
            case ["GET", "v1", "artifacts", number] if number in self.artifacts:
                return _json(self._described[number])
            case ["DELETE", "v1", "artifacts", number]:
                del self.artifacts[number]
                return 204, "application/json", b""
        return None

    def _once(self, name: str, scope: Any, path: str, body: bytes) -> tuple[int, str, bytes]:
        if name not in self._kept:
            self._kept[name] = body, super()._answer(scope, path, body)
        kept_body, answer = self._kept[name]
        return answer if kept_body == body else _refused_key()

    def _run_once(self, body: dict[str, Any]) -> tuple[int, str, bytes]:
        session: FakeSession = self._open(body.get("session", {}))
        execution = self._record(session, body["code"])
        if body.get("close_session"):
            session.gone = "session_closed"
        return self._stream(execution, 0)


class IgnoresKeys(KeepsKeys):
    """A service of before: it does what it is asked each time it is asked."""

    def _once(self, name: str, scope: Any, path: str, body: bytes) -> tuple[int, str, bytes]:
        return RestService._answer(self, scope, path, body)


class Faulty(httpx.AsyncBaseTransport):
    """Passes requests on to `service` and counts them; the kinds of it fail in their own way."""

    def __init__(self, service: RestService) -> None:
        self._inner = httpx.ASGITransport(app=service)
        self.sent: list[httpx.Request] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.sent.append(request)
        return await self._answer(request)

    async def _answer(self, request: httpx.Request) -> httpx.Response:
        return await self._inner.handle_async_request(request)

    @property
    def calls(self) -> list[str]:
        return [f"{request.method} {request.url.path}" for request in self.sent]


class FailsFirst(Faulty):
    """Meets the first `times` requests with `fault`, and passes the others on."""

    def __init__(self, service: RestService, fault: Answer, times: int = 2) -> None:
        super().__init__(service)
        self._fault = fault
        self._times = times

    async def _answer(self, request: httpx.Request) -> httpx.Response:
        if len(self.sent) <= self._times:
            return await self._fault(request)
        return await super()._answer(request)


def answers(status: int, code: str = "unavailable", **headers: str) -> Answer:
    """A refusal with the service's error body; an empty `code` is a proxy's, without one."""
    kind = {429: "rate_limit_error", 503: "unavailable_error"}.get(status, "internal_error")
    error = {"type": kind, "code": code, "message": "not now", "retryable": True}
    sent = {name.replace("_", "-"): value for name, value in headers.items()}

    async def answer(request: httpx.Request) -> httpx.Response:
        content = json.dumps({"error": error}) if code else "<html>"
        return httpx.Response(status, content=content, headers=sent)

    return answer


async def is_not_there(request: httpx.Request) -> httpx.Response:
    """Nobody listens: the request was never sent."""
    raise httpx.ConnectError("refused")


class LosesFirstAnswers(Faulty):
    """The service does what it is asked, but its first answers never arrive."""

    def __init__(self, service: RestService, times: int = 1) -> None:
        super().__init__(service)
        self._times = times

    async def _answer(self, request: httpx.Request) -> httpx.Response:
        response = await super()._answer(request)
        if len(self.sent) <= self._times:
            raise httpx.ReadError("reset by peer")
        return response


class BreaksStreams(Faulty):
    """Each stream breaks after `events` events, the first `times` times; `ending` says how."""

    def __init__(
        self,
        service: RestService,
        events: int = 3,
        times: int = 1,
        ending: Callable[[], None] | None = None,
    ) -> None:
        super().__init__(service)
        self._events = events
        self._times = times
        self._ending = ending or reset

    async def _answer(self, request: httpx.Request) -> httpx.Response:
        response = await super()._answer(request)
        is_stream = response.headers["content-type"] == "text/event-stream"
        if is_stream and self._times > 0:
            self._times -= 1
            response.stream = _Cut(response.stream, self._events, self._ending)
        return response


def reset() -> None:
    """The connection is gone."""
    raise httpx.ReadError("reset by peer")


def clean_end() -> None:
    """The stream ends as if it were complete."""


class _Cut(httpx.AsyncByteStream):
    """The first events of a stream, one byte at a time, with half of the next one."""

    def __init__(self, inner: Any, events: int, ending: Callable[[], None]) -> None:
        self._inner = inner
        self._events = events
        self._ending = ending

    async def __aiter__(self) -> AsyncIterator[bytes]:
        content = b"".join([chunk async for chunk in self._inner])
        *head, rest = content.split(b"\n\n", self._events + 1)  # a keep-alive comes first
        torn = rest.partition(b"\n\n")[0]
        shown = b"".join(part + b"\n\n" for part in head) + torn[: len(torn) // 2]
        for position in range(len(shown)):
            yield shown[position : position + 1]
        self._ending()


def client_options(transport: httpx.AsyncBaseTransport) -> dict[str, Any]:
    """How a client is made that talks through `transport`."""
    return {"base_url": "http://service.test", "api_key": KEY, "transport": transport}


def _json(value: Any) -> tuple[int, str, bytes]:
    return 200, "application/json", json.dumps(value).encode()


def _refused_key() -> tuple[int, str, bytes]:
    error = {
        "type": "conflict_error",
        "code": "idempotency_key_reused",
        "message": "This Idempotency-Key was used with another body.",
        "param": "Idempotency-Key",
        "retryable": False,
        "request_id": "req_1",
    }
    return 409, "application/json", json.dumps({"error": error}).encode()
