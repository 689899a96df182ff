"""The line to a chat completions endpoint: streamed pieces in, one assembled reply out."""

import json
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, Self
from uuid import uuid4

import openai

from runner.config import ModelConfig
from sandbox_service.client.transport import is_loopback

CONNECT_RETRIES = 3
SILENCE_S = 120.0
"""Longest wait for the next piece of a reply."""

Message = dict[str, Any]


class ModelFailed(Exception):
    """The endpoint refused the request, failed, or could not be reached; the message says which."""


@dataclass(slots=True)
class ToolCall:
    """A call of a tool, as far as it has arrived."""

    id: str = ""
    name: str = ""
    arguments: str = ""


@dataclass(frozen=True, slots=True)
class CallDelta:
    """A piece of one tool call; `index` says of which."""

    index: int
    id: str = ""
    name: str = ""
    arguments: str = ""


@dataclass(frozen=True, slots=True)
class ReplyDelta:
    """A piece of a reply."""

    text: str = ""
    calls: tuple[CallDelta, ...] = ()


@dataclass(slots=True)
class Reply:
    """A reply put together from its pieces."""

    text: str = ""
    calls: list[ToolCall] = field(default_factory=list)
    _by_index: dict[int, ToolCall] = field(default_factory=dict)

    def add(self, delta: ReplyDelta) -> None:
        """Join the next piece."""
        self.text += delta.text
        for piece in delta.calls:
            call = self._call(piece)
            call.id = call.id or piece.id
            call.name = call.name or piece.name
            call.arguments += piece.arguments

    def message(self) -> Message:
        """The reply as a message of the conversation."""
        message: Message = {"role": "assistant", "content": self.text or None}
        if self.calls:
            message["tool_calls"] = [_as_sent(call) for call in self.calls]
        return message

    def _call(self, piece: CallDelta) -> ToolCall:
        """The call that a piece belongs to: some endpoints give every call the same index."""
        known = self._by_index.get(piece.index)
        if known is None or (piece.id and known.id and piece.id != known.id):
            known = ToolCall(piece.id or f"call_{uuid4().hex}")
            self._by_index[piece.index] = known
            self.calls.append(known)
        return known


class ChatModel(Protocol):
    """Answers a conversation."""

    def stream(
        self, messages: Sequence[Message], tools: Sequence[Message]
    ) -> AsyncGenerator[ReplyDelta]:
        """Yield the pieces of the reply. Raises ModelFailed."""
        ...


class OpenAIModel:
    """Any endpoint that speaks OpenAI's chat completions protocol."""

    def __init__(self, config: ModelConfig) -> None:
        self._model = config.model
        self._client = openai.AsyncOpenAI(
            api_key=config.api_key,
            base_url=config.base_url,
            max_retries=CONNECT_RETRIES,
            timeout=SILENCE_S,
            http_client=_without_proxy() if is_loopback(config.base_url or "") else None,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.close()

    async def stream(
        self, messages: Sequence[Message], tools: Sequence[Message]
    ) -> AsyncGenerator[ReplyDelta]:
        """Yield the pieces of the reply. Raises ModelFailed."""
        create: Any = self._client.chat.completions.create
        try:
            answer = await create(model=self._model, messages=messages, tools=tools, stream=True)
            async with answer:
                async for chunk in answer:
                    if chunk.choices and chunk.choices[0].delta is not None:
                        yield _delta(chunk.choices[0].delta)
        except openai.OpenAIError as error:
            raise ModelFailed(_reason(error)) from error


def _without_proxy() -> Any:
    return openai.DefaultAsyncHttpxClient(trust_env=False)


def _delta(delta: Any) -> ReplyDelta:
    calls = tuple(
        CallDelta(
            index=call.index or 0,
            id=call.id or "",
            name=(call.function and call.function.name) or "",
            arguments=(call.function and call.function.arguments) or "",
        )
        for call in delta.tool_calls or ()
    )
    return ReplyDelta(delta.content or "", calls)


def _as_sent(call: ToolCall) -> Message:
    """The call for the history. Arguments that are no JSON would make some endpoints refuse it."""
    try:
        json.loads(call.arguments)
        arguments = call.arguments
    except ValueError:
        arguments = "{}"
    function = {"name": call.name, "arguments": arguments}
    return {"id": call.id, "type": "function", "function": function}


def _reason(error: openai.OpenAIError) -> str:
    if isinstance(error, openai.APIStatusError):
        return f"the model endpoint answered {error.status_code}: {error.message}"
    if isinstance(error, openai.APIConnectionError):
        return f"the model endpoint cannot be reached: {error}"
    return f"the model endpoint failed: {error}"
