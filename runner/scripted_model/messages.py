"""Answers of the Anthropic messages protocol: one object, or the events of a stream."""

import json
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

from runner.scripted_model.completions import arguments_of, pieces
from runner.scripted_model.scripts import ScriptedReply
from runner.tool import NAME

Json = dict[str, Any]


def message(model: str, reply: ScriptedReply) -> Json:
    """The whole answer as one object."""
    return {
        "id": f"msg_{uuid4().hex[:24]}",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": _blocks(reply),
        "stop_reason": "tool_use" if arguments_of(reply) else "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 1, "output_tokens": _written(reply)},
    }


def events(model: str, reply: ScriptedReply) -> Iterator[Json]:
    """The same answer as events: each block in pieces, the reason of the end last."""
    whole = message(model, reply)
    begun = whole | {"content": [], "stop_reason": None}
    yield {"type": "message_start", "message": begun}
    for index, block in enumerate(whole["content"]):
        yield {"type": "content_block_start", "index": index, "content_block": _opened(block)}
        for delta in _deltas(block):
            yield {"type": "content_block_delta", "index": index, "delta": delta}
        yield {"type": "content_block_stop", "index": index}
    ending = {"stop_reason": whole["stop_reason"], "stop_sequence": None}
    yield {"type": "message_delta", "delta": ending, "usage": whole["usage"]}
    yield {"type": "message_stop"}


def refusal(status: int, text: str, param: str | None) -> Json:
    """The body of an error."""
    kind = "not_found_error" if status == 404 else "invalid_request_error"
    error: Json = {"type": kind, "message": text}
    if param == "thread":  # on this the client sends the whole history instead
        error["details"] = {"error_code": "thread_unsupported_request", "unsupported": []}
    return {"type": "error", "error": error}


def _blocks(reply: ScriptedReply) -> list[Json]:
    text = [{"type": "text", "text": reply.text}] if reply.text else []
    return [*text, *(_tool_use(arguments) for arguments in arguments_of(reply))]


def _tool_use(arguments: str) -> Json:
    return {
        "type": "tool_use",
        "id": f"toolu_{uuid4().hex[:24]}",
        "name": NAME,
        "input": input_of(arguments),
    }


def input_of(arguments: str) -> Json:
    """Arguments of a protocol that has them as an object: what is no JSON comes under no name."""
    try:
        value = json.loads(arguments)
    except ValueError:
        return {"": arguments}
    return value if isinstance(value, dict) else {"": value}


def _opened(block: Json) -> Json:
    empty: Json = {"text": ""} if block["type"] == "text" else {"input": {}}
    return block | empty


def _deltas(block: Json) -> Iterator[Json]:
    if block["type"] == "text":
        return ({"type": "text_delta", "text": piece} for piece in pieces(block["text"]))
    written = pieces(json.dumps(block["input"]))
    return ({"type": "input_json_delta", "partial_json": piece} for piece in written)


def _written(reply: ScriptedReply) -> int:
    return max(1, sum(map(len, (reply.text, *reply.cells))) // 4)
