"""The service's REST contract in one ASGI application, with cells run by any callable."""

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from tests.unit.fakes.inline_python import InlinePython

NOW = "2026-01-02T03:04:05Z"
KEY = "test-key"

Cell = Callable[[str], list[dict[str, Any]]]


class Refused(Exception):
    """Answered as an error body."""

    def __init__(self, status: int, kind: str, code: str, message: str) -> None:
        self.status = status
        self.error = {"type": kind, "code": code, "message": message, "param": None}
        self.error |= {"retryable": status >= 500, "request_id": "req_1"}


@dataclass
class FakeSession:
    id: str
    run: Cell
    files: dict[str, bytes] = field(default_factory=dict)
    gone: str | None = None
    executions: list[dict[str, Any]] = field(default_factory=list)
    state: str = "kept"


@dataclass
class RestService:
    """Keeps sessions in memory. Tests reach into `sessions` to end one, or to see what it holds.

    `patch` changes every execution before it is sent; `break_after` cuts streams after so many
    events; `fail_with` is sent as an error event in mid-stream.
    """

    new_kernel: Callable[[], Cell] = lambda: InlinePython().run
    sessions: dict[str, FakeSession] = field(default_factory=dict)
    artifacts: dict[str, bytes] = field(default_factory=dict)
    described: dict[str, dict[str, Any]] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    bodies: list[Any] = field(default_factory=list)
    patch: Callable[[dict[str, Any]], None] | None = None
    break_after: int | None = None
    fail_with: dict[str, Any] | None = None

    def add_artifact(self, path: str, content: bytes) -> dict[str, Any]:
        """Keep a file as an artifact; returns its object."""
        number = f"art_{len(self.artifacts) + 1}"
        self.artifacts[number] = content
        self.described[number] = {
            "id": number,
            "path": path,
            "size": len(content),
            "media_type": "application/octet-stream",
            "sha256": hashlib.sha256(content).hexdigest(),
            "url": f"http://service.test/v1/artifacts/{number}/content?signature=s",
        }
        return self.described[number]

    def end_sessions(self, code: str) -> None:
        """End every session, with this code for whoever asks."""
        for session in self.sessions.values():
            session.gone = code

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        body = await _read(receive)
        path = scope["raw_path"].decode().partition("?")[0]
        self.requests.append(f"{scope['method']} {path}")
        try:
            self._authorise(dict(scope["headers"]), path)
            status, media_type, content = self._answer(scope, path, body)
        except Refused as refused:
            status, media_type = refused.status, "application/json"
            content = json.dumps({"error": refused.error}).encode()
        headers = [(b"content-type", media_type.encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": content})

    def _authorise(self, headers: dict[bytes, bytes], path: str) -> None:
        if path == "/readyz":
            return
        if headers.get(b"authorization") != f"Bearer {KEY}".encode():
            raise Refused(401, "authentication_error", "invalid_api_key", "no valid key")

    def _answer(self, scope: Any, path: str, body: bytes) -> tuple[int, str, bytes]:
        method, parts = scope["method"], path.strip("/").split("/", 4)
        match [method, *parts]:
            case ["GET", "readyz"]:
                return _json(200, {"status": "ready"})
            case ["GET", "v1", "artifacts", number] if number in self.described:
                return _json(200, self.described[number])
            case ["GET", "v1", "artifacts", number, "content"]:
                return 200, "application/octet-stream", self.artifacts[number]
            case ["POST", "v1", "sessions"]:
                return _json(201, self._describe(self._open(json.loads(body))))
            case ["GET", "v1", "sessions"]:
                found = [self._describe(session) for session in self.sessions.values()]
                return _json(200, {"object": "list", "data": found})
            case ["POST", "v1", "executions"]:
                return self._run_once(json.loads(body))
            case [_, "v1", "sessions", session_id, *rest]:
                return self._of_session(method, self._live(session_id), rest, body, scope)
        raise Refused(404, "not_found_error", "not_found", f"no route {method} {path}")

    def _of_session(
        self, method: str, session: FakeSession, rest: list[str], body: bytes, scope: Any
    ) -> tuple[int, str, bytes]:
        match [method, *rest]:
            case ["GET"] | ["PATCH"]:
                return _json(200, self._describe(session))
            case ["DELETE"]:
                session.gone = "session_closed"
                return 204, "application/json", b""
            case ["POST", "interrupt"] | ["POST", "restart"]:
                return _json(200, self._describe(session))
            case ["POST", "executions"]:
                return self._execute(session, json.loads(body))
            case ["GET", "executions", name] if name.endswith("/events"):
                execution = self._execution(session, name.removesuffix("/events"))
                after = dict(scope["headers"]).get(b"last-event-id", b"0")
                return self._stream(execution, int(after))
            case ["GET", "executions", name]:
                return _json(200, self._execution(session, name))
            case ["GET", "notebook"]:
                return _json(200, {"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": []})
            case ["GET", "files"]:
                entries = [_entry(path, len(data)) for path, data in session.files.items()]
                return _json(200, {"object": "list", "data": entries})
            case [_, "files", name]:
                return self._file(method, session, unquote(name, errors="surrogateescape"), body)
        raise Refused(404, "not_found_error", "not_found", "no such thing")

    def _file(
        self, method: str, session: FakeSession, name: str, body: bytes
    ) -> tuple[int, str, bytes]:
        if method == "PUT":
            session.files[name] = body
            return _json(200, _entry(name, len(body)))
        if name not in session.files:
            raise Refused(404, "not_found_error", "file_not_found", f"no file {name}")
        if method == "DELETE":
            del session.files[name]
            return 204, "application/json", b""
        return 200, "application/octet-stream", session.files[name]

    def _open(self, body: dict[str, Any]) -> FakeSession:
        self.bodies.append(body)
        session = FakeSession(f"sess_{len(self.sessions) + 1}", self.new_kernel())
        self.sessions[session.id] = session
        return session

    def _live(self, session_id: str) -> FakeSession:
        session = self.sessions.get(session_id)
        if session is None:
            raise Refused(404, "not_found_error", "session_not_found", f"no session {session_id}")
        if session.gone:
            raise Refused(410, "gone_error", session.gone, "the session is over")
        return session

    def _describe(self, session: FakeSession) -> dict[str, Any]:
        return {"id": session.id, "object": "session", "status": "ready", "expires_at": NOW}

    def _run_once(self, body: dict[str, Any]) -> tuple[int, str, bytes]:
        session = self._open(body.get("session", {}))
        execution = self._record(session, body["code"])
        if body.get("close_session"):
            session.gone = "session_closed"
        return _json(200, {"session": self._describe(session), "execution": execution})

    def _execute(self, session: FakeSession, body: dict[str, Any]) -> tuple[int, str, bytes]:
        self.bodies.append(body)
        execution = self._record(session, body["code"])
        return self._stream(execution, 0) if body.get("stream") else _json(200, execution)

    def _execution(self, session: FakeSession, name: str) -> dict[str, Any]:
        for execution in session.executions:
            if execution["id"] == name:
                return execution
        raise Refused(404, "not_found_error", "execution_not_found", f"no execution {name}")

    def _record(self, session: FakeSession, code: str) -> dict[str, Any]:
        outputs = session.run(code)
        failed = any(output["output_type"] == "error" for output in outputs)
        count = len(session.executions) + 1
        execution = {
            "id": f"exec_{count}",
            "object": "execution",
            "session_id": session.id,
            "status": "error" if failed else "ok",
            "execution_count": count,
            "outputs": outputs,
            "artifacts": [],
            "truncated": False,
            "notices": [],
            "started_at": NOW,
            "duration_s": 0.01,
            "kernel": {"epoch": 1, "state": session.state},
            "session_expires_at": NOW,
        }
        if self.patch is not None:
            self.patch(execution)
        session.executions.append(execution)
        return execution

    def _stream(self, execution: dict[str, Any], after: int) -> tuple[int, str, bytes]:
        text = ": keep-alive\n\n"
        for number, (name, data) in enumerate(self._events(execution), start=1):
            if self.break_after is not None and number > self.break_after:
                break
            if number > after:
                text += f"id: {number}\nevent: {name}\ndata: {json.dumps(data)}\n\n"
        return 200, "text/event-stream", text.encode()

    def _events(self, execution: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
        yield "execution.started", {"execution": {"id": execution["id"]}}
        for index, output in enumerate(execution["outputs"]):
            yield "output", {"action": "append", "index": index, "output": output}
        if self.fail_with is not None:
            yield "error", {"error": self.fail_with}
            return
        for artifact in execution["artifacts"]:
            yield "artifact", {"artifact": artifact}
        yield "execution.completed", {"execution": execution}


async def _read(receive: Any) -> bytes:
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            return body


def _json(status: int, value: Any) -> tuple[int, str, bytes]:
    return status, "application/json", json.dumps(value).encode()


def _entry(path: str, size: int) -> dict[str, Any]:
    return {"path": path, "size": size, "type": "file", "modified_at": NOW}
