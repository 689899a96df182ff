"""Answers of the Responses protocol: one object, or the events of a stream."""

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

from runner.scripted_model.completions import CREATED, arguments_of, pieces
from runner.scripted_model.scripts import ScriptedReply
from runner.tool import NAME

Json = dict[str, Any]


def response(model: str, reply: ScriptedReply) -> Json:
    """The whole answer as one object."""
    return _envelope(model) | {
        "status": "completed",
        "output": _items(reply),
        "usage": _usage(reply),
    }


def events(model: str, reply: ScriptedReply) -> Iterator[Json]:
    """The same answer as events with rising numbers, the whole object again at the end."""
    for number, event in enumerate(_events(response(model, reply))):
        yield event | {"sequence_number": number}


def _events(whole: Json) -> Iterator[Json]:
    begun = whole | {"status": "in_progress", "output": [], "usage": None}
    yield {"type": "response.created", "response": begun}
    yield {"type": "response.in_progress", "response": begun}
    for index, item in enumerate(whole["output"]):
        streamed = _message_events if item["type"] == "message" else _call_events
        opened = _opened(item)
        yield {"type": "response.output_item.added", "output_index": index, "item": opened}
        for event in streamed(item):
            yield event | {"item_id": item["id"], "output_index": index}
        yield {"type": "response.output_item.done", "output_index": index, "item": item}
    yield {"type": "response.completed", "response": whole}


def _opened(item: Json) -> Json:
    empty: Json = {"content": []} if item["type"] == "message" else {"arguments": ""}
    return item | empty | {"status": "in_progress"}


def _message_events(item: Json) -> Iterator[Json]:
    (part,) = item["content"]
    place = {"content_index": 0}
    yield place | {"type": "response.content_part.added", "part": part | {"text": ""}}
    for piece in pieces(part["text"]):
        yield place | {"type": "response.output_text.delta", "delta": piece, "logprobs": []}
    yield place | {"type": "response.output_text.done", "text": part["text"], "logprobs": []}
    yield place | {"type": "response.content_part.done", "part": part}


def _call_events(item: Json) -> Iterator[Json]:
    kind = "response.function_call_arguments"
    for piece in pieces(item["arguments"]):
        yield {"type": f"{kind}.delta", "delta": piece}
    yield {"type": f"{kind}.done", "arguments": item["arguments"], "name": item["name"]}


def _items(reply: ScriptedReply) -> list[Json]:
    calls = [_call(arguments) for arguments in arguments_of(reply)]
    return [*([_message(reply.text)] if reply.text else []), *calls]


def _message(text: str) -> Json:
    part = {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
    name = f"msg_{uuid4().hex[:24]}"
    item = {"id": name, "type": "message", "role": "assistant", "status": "completed"}
    return item | {"content": [part]}


def _call(arguments: str) -> Json:
    names = {"id": f"fc_{uuid4().hex[:24]}", "call_id": f"call_{uuid4().hex[:24]}", "name": NAME}
    return {"type": "function_call", "status": "completed", **names, "arguments": arguments}


def _envelope(model: str) -> Json:
    return {
        "id": f"resp_{uuid4().hex[:24]}",
        "object": "response",
        "created_at": CREATED,
        "model": model,
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "metadata": {},
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
    }


def _usage(reply: ScriptedReply) -> Json:
    written = max(1, sum(map(len, (reply.text, *reply.cells))) // 4)
    return {
        "input_tokens": 1,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": written,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": written + 1,
    }
