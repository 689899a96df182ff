"""Answers of Google's generateContent protocol: one object, or the pieces of a stream."""

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

from runner.scripted_model.completions import arguments_of
from runner.scripted_model.completions import pieces as pieces_of
from runner.scripted_model.messages import input_of
from runner.scripted_model.scripts import ScriptedReply
from runner.tool import NAME

Json = dict[str, Any]


def answer(model: str, reply: ScriptedReply) -> Json:
    """The whole answer as one object."""
    text = [{"text": reply.text}] if reply.text else []
    return _response(model, uuid4().hex, [*text, *_calls(reply)], reply)


def pieces(model: str, reply: ScriptedReply) -> Iterator[Json]:
    """The same answer in pieces; a function call always comes whole."""
    name = uuid4().hex
    for piece in pieces_of(reply.text):
        yield _response(model, name, [{"text": piece}])
    yield _response(model, name, _calls(reply) or [{"text": ""}], reply)


def refusal(status: int, text: str, param: str | None) -> Json:
    """The body of an error."""
    kind = "NOT_FOUND" if status == 404 else "INVALID_ARGUMENT"
    return {"error": {"code": status, "message": text, "status": kind}}


def _calls(reply: ScriptedReply) -> list[Json]:
    """Without ids: the endpoint gives none either."""
    return [
        {"functionCall": {"name": NAME, "args": input_of(arguments)}}
        for arguments in arguments_of(reply)
    ]


def _response(model: str, name: str, parts: list[Json], last: ScriptedReply | None = None) -> Json:
    candidate: Json = {"content": {"role": "model", "parts": parts}, "index": 0}
    usage: Json = {"promptTokenCount": 1, "totalTokenCount": 1}
    if last is not None:
        candidate["finishReason"] = "STOP"
        written = max(1, sum(map(len, (last.text, *last.cells))) // 4)
        usage |= {"candidatesTokenCount": written, "totalTokenCount": written + 1}
    envelope = {"modelVersion": model, "responseId": name}
    return envelope | {"candidates": [candidate], "usageMetadata": usage}
