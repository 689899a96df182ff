"""The line to a chat completions endpoint: a conversation in, the pieces of a reply out."""

import json
from collections.abc import AsyncGenerator, Sequence
from typing import Any, Protocol, Self

from runner.config import ModelConfig
from runner.limits import Usage
from runner.quirks import Quirks
from runner.reply import CallDelta, Message, ReplyDelta
from runner.retries import ModelFailed, busy_failure
from sandbox_service.client.transport import is_loopback
from sandbox_service.domain.extras import needing

with needing("assistant"):
    import openai
    from openai.types.chat import ChatCompletion

__all__ = ["ChatModel", "Message", "ModelFailed", "OpenAIModel"]

SILENCE_S = 120.0
"""Longest wait for the next piece of a reply."""


class ChatModel(Protocol):
    """Answers a conversation."""

    def stream(
        self, messages: Sequence[Message], tools: Sequence[Message]
    ) -> AsyncGenerator[ReplyDelta]:
        """Yield the pieces of the reply. Raises ModelFailed."""
        ...


class OpenAIModel:
    """Any endpoint that speaks OpenAI's chat completions protocol, or the better part of it."""

    def __init__(self, config: ModelConfig) -> None:
        self._model = config.model
        self._quirks = Quirks()
        self._client = openai.AsyncOpenAI(
            api_key=config.api_key,
            base_url=config.base_url,
            max_retries=0,  # the loop asks again, where it can be seen and cut short
            timeout=SILENCE_S,
            http_client=_without_proxy() if is_loopback(config.base_url or "") else None,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.close()

    @property
    def takes_tools(self) -> bool:
        """False once the endpoint has refused them: the model is then told to write code in a fence."""
        return self._quirks.takes_tools

    async def stream(
        self, messages: Sequence[Message], tools: Sequence[Message]
    ) -> AsyncGenerator[ReplyDelta]:
        """Yield the pieces of the reply. Raises ModelFailed."""
        try:
            answer = await self._asked(messages, tools)
            async for delta in _deltas(answer):
                yield delta
        except openai.OpenAIError as error:
            raise _failure(error) from error
        except ValueError as error:
            raise ModelFailed(f"the model endpoint sent what is no JSON: {error}") from error

    async def _asked(self, messages: Sequence[Message], tools: Sequence[Message]) -> Any:
        """The open answer; what the endpoint does not know is left out from then on."""
        create: Any = self._client.chat.completions.create
        while True:
            try:
                return await create(model=self._model, **self._quirks.request(messages, tools))
            except openai.APIStatusError as error:
                if not self._quirks.learn(error.status_code, error.message):
                    raise


def _without_proxy() -> Any:
    return openai.DefaultAsyncHttpxClient(trust_env=False)


async def _deltas(answer: Any) -> AsyncGenerator[ReplyDelta]:
    """The pieces of a stream; a whole reply is one piece."""
    if not isinstance(answer, openai.AsyncStream):
        yield _whole(answer)
        return
    async with answer:
        if "application/json" in answer.response.headers.get("content-type", ""):
            yield _whole(await _parsed(answer))
            return
        async for chunk in answer:
            yield _delta(chunk)


async def _parsed(answer: Any) -> Any:
    """The body of an endpoint that does not stream, though it was asked to."""
    body = json.loads(await answer.response.aread())
    if not isinstance(body, dict):
        raise ValueError("the body is no object")
    construct: Any = ChatCompletion.construct
    return construct(**body)


def _whole(completion: Any) -> ReplyDelta:
    choices = completion.choices or ()
    message = choices[0].message if choices else None
    return ReplyDelta(
        (message and message.content) or "",
        _calls(message),
        (choices and choices[0].finish_reason) or "",
        _usage(completion),
    )


def _delta(chunk: Any) -> ReplyDelta:
    """A chunk as a piece; the last one of some endpoints has no choices, of others no delta."""
    choices = chunk.choices or ()
    delta = choices[0].delta if choices else None
    return ReplyDelta(
        (delta and delta.content) or "",
        _calls(delta),
        (choices and choices[0].finish_reason) or "",
        _usage(chunk),
    )


def _calls(message: Any) -> tuple[CallDelta, ...]:
    return tuple(
        CallDelta(
            index=_index(call, position),
            id=call.id or "",
            name=(call.function and call.function.name) or "",
            arguments=(call.function and call.function.arguments) or "",
        )
        for position, call in enumerate((message and message.tool_calls) or ())
    )


def _index(call: Any, position: int) -> int:
    """Whole replies and some endpoints do not number their calls."""
    index = getattr(call, "index", None)
    return position if index is None else int(index)


def _usage(answer: Any) -> Usage | None:
    usage = answer.usage
    if usage is None:
        return None
    details = getattr(usage, "prompt_tokens_details", None)
    cached = (details and details.cached_tokens) or 0
    return Usage(usage.prompt_tokens or 0, usage.completion_tokens or 0, cached)


def _failure(error: openai.OpenAIError) -> ModelFailed:
    if isinstance(error, openai.APIStatusError):
        reason = f"the model endpoint answered {error.status_code}: {error.message}"
        return busy_failure(reason, error.status_code, str(error.code), error.response.headers)
    if isinstance(error, openai.APIConnectionError):
        return ModelFailed(f"the model endpoint cannot be reached: {error}", may_pass=True)
    kind = f"{getattr(error, 'type', '')} {getattr(error, 'code', '')} {error}"
    return busy_failure(f"the model endpoint failed: {error}", None, kind, {})
