"""Answers of the chat completions protocol: one object, or the chunks of a stream."""

import json
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

from runner.scripted_model.scripts import ScriptedReply
from runner.tool import NAME

CREATED = 1_767_225_600
PIECE = 12
"""Characters in one chunk: small, so that every assembly of pieces is put to the test."""

Json = dict[str, Any]


def completion(model: str, reply: ScriptedReply) -> Json:
    """The whole answer as one object."""
    message: Json = {"role": "assistant", "content": reply.text or None, "refusal": None}
    if calls := _calls(reply):
        message["tool_calls"] = calls
    choice = {"index": 0, "message": message, "finish_reason": _ending(reply), "logprobs": None}
    return _envelope(model, "chat.completion") | {"choices": [choice], "usage": _usage(reply)}


def chunks(model: str, reply: ScriptedReply, *, with_usage: bool) -> Iterator[Json]:
    """The same answer in pieces: role, text, tool calls, ending, usage."""
    envelope = _envelope(model, "chat.completion.chunk")
    for delta in _deltas(reply):
        yield envelope | {"choices": [{"index": 0, "delta": delta, "finish_reason": None}]}
    yield envelope | {"choices": [{"index": 0, "delta": {}, "finish_reason": _ending(reply)}]}
    if with_usage:
        yield envelope | {"choices": [], "usage": _usage(reply)}


def _deltas(reply: ScriptedReply) -> Iterator[Json]:
    yield {"role": "assistant", "content": ""}
    for piece in pieces(reply.text):
        yield {"content": piece}
    for index, call in enumerate(_calls(reply)):
        function = call["function"]
        opening = {"name": function["name"], "arguments": ""}
        yield {"tool_calls": [{"index": index, **call, "function": opening}]}
        for piece in pieces(function["arguments"]):
            yield {"tool_calls": [{"index": index, "function": {"arguments": piece}}]}


def arguments_of(reply: ScriptedReply) -> list[str]:
    """The arguments of each call of a reply, as JSON unless the script says otherwise."""
    if reply.arguments is not None:
        return [reply.arguments]
    return [json.dumps({"code": cell}) for cell in reply.cells]


def pieces(text: str) -> Iterator[str]:
    """The text as it is streamed."""
    return (text[start : start + PIECE] for start in range(0, len(text), PIECE))


def _calls(reply: ScriptedReply) -> list[Json]:
    return [
        {
            "id": f"call_{uuid4().hex[:24]}",
            "type": "function",
            "function": {"name": NAME, "arguments": text},
        }
        for text in arguments_of(reply)
    ]


def _ending(reply: ScriptedReply) -> str:
    return "tool_calls" if arguments_of(reply) else "stop"


def _envelope(model: str, kind: str) -> Json:
    name = f"chatcmpl-{uuid4().hex[:24]}"
    return {"id": name, "object": kind, "created": CREATED, "model": model}


def _usage(reply: ScriptedReply) -> Json:
    written = max(1, sum(map(len, (reply.text, *reply.cells))) // 4)
    return {"prompt_tokens": 1, "completion_tokens": written, "total_tokens": written + 1}
