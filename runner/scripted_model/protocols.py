"""The protocols that the scripted model speaks: how each is read, answered, streamed and refused."""

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from runner.scripted_model import (
    completions,
    contents,
    contents_transcript,
    messages,
    messages_transcript,
    responses,
    responses_transcript,
    transcript,
)
from runner.scripted_model.scripts import ScriptedReply
from runner.scripted_model.transcript import BadRequest, Transcript
from runner.tool import NAME

Json = dict[str, Any]
Frames = Iterable[bytes]


@dataclass(frozen=True, slots=True)
class Protocol:
    """`read` and `schemas` raise BadRequest; `schemas` are the offered tools' by their names."""

    read: Callable[[Json], Transcript]
    schemas: Callable[[Json], dict[str, Any]]
    whole: Callable[[str, ScriptedReply], Json]
    frames: Callable[[str, ScriptedReply, Json], Frames]
    refusal: Callable[[int, str, str | None], Json]

    def transcript_of(self, asked: Json) -> Transcript:
        """The conversation, after the checks that every protocol has. Raises BadRequest."""
        schemas = self.schemas(asked)
        if not schemas:
            raise BadRequest("'tools' must be a non-empty array", "tools")
        for schema in schemas.values():
            if not isinstance(schema, dict):
                raise BadRequest("a function tool needs 'parameters'", "tools")
        if NAME not in schemas:
            raise BadRequest(f"the scripts need a tool named {NAME}", "tools")
        return self.read(asked)


def _chat_schemas(asked: Json) -> dict[str, Any]:
    tools = [tool for tool in asked.get("tools") or () if tool.get("type") == "function"]
    functions = [tool.get("function") or {} for tool in tools]
    return {str(function.get("name")): function.get("parameters") for function in functions}


def _chat_frames(model: str, reply: ScriptedReply, asked: Json) -> Iterator[bytes]:
    with_usage = bool((asked.get("stream_options") or {}).get("include_usage"))
    for chunk in completions.chunks(model, reply, with_usage=with_usage):
        yield frame(chunk)
    yield b"data: [DONE]\n\n"


def _openai_refusal(status: int, message: str, param: str | None) -> Json:
    kind = "invalid_request_error"
    return {"error": {"message": message, "type": kind, "param": param, "code": None}}


def _responses_schemas(asked: Json) -> dict[str, Any]:
    tools = [tool for tool in asked.get("tools") or () if tool.get("type") == "function"]
    return {str(tool.get("name")): tool.get("parameters") for tool in tools}


def _messages_schemas(asked: Json) -> dict[str, Any]:
    return {str(tool.get("name")): tool.get("input_schema") for tool in asked.get("tools") or ()}


def _named_frames(events: Iterable[Json]) -> Iterator[bytes]:
    return (frame(event, event["type"]) for event in events)


def frame(value: Json, name: str | None = None) -> bytes:
    """One server-sent event."""
    event = f"event: {name}\n" if name else ""
    return f"{event}data: {json.dumps(value)}\n\n".encode()


CHAT = Protocol(
    transcript.read_transcript, _chat_schemas, completions.completion, _chat_frames, _openai_refusal
)
RESPONSES = Protocol(
    responses_transcript.read_input,
    _responses_schemas,
    responses.response,
    lambda model, reply, asked: _named_frames(responses.events(model, reply)),
    _openai_refusal,
)
MESSAGES = Protocol(
    messages_transcript.read_messages,
    _messages_schemas,
    messages.message,
    lambda model, reply, asked: _named_frames(messages.events(model, reply)),
    messages.refusal,
)
CONTENTS = Protocol(
    contents_transcript.read_contents,
    contents_transcript.schemas,
    contents.answer,
    lambda model, reply, asked: map(frame, contents.pieces(model, reply)),
    contents.refusal,
)
