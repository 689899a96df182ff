"""Conversations with the client of each provider, in the loop that its users write by hand."""

from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import openai
from anthropic import AsyncAnthropic
from google.genai import Client as GoogleClient
from google.genai.types import Content, GenerateContentConfig, HttpOptions

from runner.adapters import anthropic_messages, google_genai, openai_chat, openai_responses
from runner.dispatch import PythonTool

Talk = Callable[[str, PythonTool, str, Sequence[str]], Coroutine[Any, Any, list[str]]]
"""Takes a model's base URL, a tool, the model's name and the questions; gives the answers."""


@dataclass(frozen=True)
class Step:
    """What one request adds to the history: the reply, and the results of its calls."""

    reply: Sequence[Any]
    results: Sequence[Any]
    text: str | None


async def talked(
    questions: Sequence[Any], ask: Callable[[list[Any]], Awaitable[Step]]
) -> list[str]:
    """The answers to the questions: each is asked until the model calls no tool."""
    answers, history = [], list[Any]()
    for question in questions:
        history.append(question)
        while True:
            step = await ask(history)
            history += [*step.reply, *step.results]
            if not step.results:
                break
        answers.append(step.text or "")
    return answers


def said(questions: Sequence[str]) -> list[Any]:
    return [{"role": "user", "content": question} for question in questions]


def openai_client(url: str) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=0)


async def chat_loop(
    url: str, python: PythonTool, model: str, questions: Sequence[str]
) -> list[str]:
    async def ask(messages: list[Any]) -> Step:
        reply = await client.chat.completions.create(
            model=model, messages=messages, tools=[openai_chat.definition()]
        )
        message = reply.choices[0].message
        results = await openai_chat.answer_calls(python, message)
        return Step([message], results, message.content)

    async with openai_client(url) as client:
        return await talked(said(questions), ask)


async def chat_streamed(
    url: str, python: PythonTool, model: str, questions: Sequence[str]
) -> list[str]:
    async def ask(messages: list[Any]) -> Step:
        async with client.chat.completions.stream(
            model=model, messages=messages, tools=[openai_chat.definition()]
        ) as stream:
            message = (await stream.get_final_completion()).choices[0].message
        results = await openai_chat.answer_calls(python, message)
        return Step([message], results, message.content)

    async with openai_client(url) as client:
        return await talked(said(questions), ask)


async def responses_loop(
    url: str, python: PythonTool, model: str, questions: Sequence[str]
) -> list[str]:
    async def ask(items: list[Any]) -> Step:
        reply = await client.responses.create(
            model=model, input=items, tools=[openai_responses.definition()]
        )
        results = await openai_responses.answer_calls(python, reply.output)
        return Step(reply.output, results, reply.output_text)

    async with openai_client(url) as client:
        return await talked(said(questions), ask)


async def responses_streamed(
    url: str, python: PythonTool, model: str, questions: Sequence[str]
) -> list[str]:
    async def ask(items: list[Any]) -> Step:
        async with client.responses.stream(
            model=model, input=items, tools=[openai_responses.definition()]
        ) as stream:
            reply = await stream.get_final_response()
        results = await openai_responses.answer_calls(python, reply.output)
        # What the helper of streams has parsed is no part of an input item.
        parsed: Any = {"parsed_arguments": True, "content": {"__all__": {"parsed"}}}
        items_said = [item.model_dump(exclude=parsed, exclude_none=True) for item in reply.output]
        return Step(items_said, results, reply.output_text)

    async with openai_client(url) as client:
        return await talked(said(questions), ask)


async def anthropic_loop(
    url: str, python: PythonTool, model: str, questions: Sequence[str]
) -> list[str]:
    async def ask(messages: list[Any]) -> Step:
        reply = await client.messages.create(
            model=model, messages=messages, tools=[anthropic_messages.definition()], max_tokens=99
        )
        results = await anthropic_messages.answer_calls(python, reply)
        return Step([{"role": "assistant", "content": reply.content}], results, text_of(reply))

    async with anthropic_client(url) as client:
        return await talked(said(questions), ask)


async def anthropic_streamed(
    url: str, python: PythonTool, model: str, questions: Sequence[str]
) -> list[str]:
    async def ask(messages: list[Any]) -> Step:
        async with client.messages.stream(
            model=model, messages=messages, tools=[anthropic_messages.definition()], max_tokens=99
        ) as stream:
            reply = await stream.get_final_message()
        results = await anthropic_messages.answer_calls(python, reply)
        return Step([{"role": "assistant", "content": reply.content}], results, text_of(reply))

    async with anthropic_client(url) as client:
        return await talked(said(questions), ask)


async def google_loop(
    url: str, python: PythonTool, model: str, questions: Sequence[str]
) -> list[str]:
    async def ask(contents: list[Any]) -> Step:
        config = GenerateContentConfig(tools=[google_genai.tool()])
        reply = await client.models.generate_content(model=model, contents=contents, config=config)
        content = (reply.candidates or [])[0].content
        results = await google_genai.answer_calls(python, content)
        return Step([content], results, reply.text)

    async with google_client(url) as client:
        return await talked(parts(questions), ask)


async def google_streamed(
    url: str, python: PythonTool, model: str, questions: Sequence[str]
) -> list[str]:
    """With the pictures inside the function responses."""

    async def ask(contents: list[Any]) -> Step:
        config = GenerateContentConfig(tools=[google_genai.tool()])
        content, text = Content(role="model", parts=[]), ""
        async for piece in await client.models.generate_content_stream(
            model=model, contents=contents, config=config
        ):
            content.parts += (piece.candidates or [])[0].content.parts
            text += piece.text or ""
        results = await google_genai.answer_calls(python, content, images="inside")
        return Step([content], results, text)

    async with google_client(url) as client:
        return await talked(parts(questions), ask)


def parts(questions: Sequence[str]) -> list[Any]:
    return [{"role": "user", "parts": [{"text": question}]} for question in questions]


def anthropic_client(url: str) -> AsyncAnthropic:
    return AsyncAnthropic(base_url=url.removesuffix("/v1"), api_key="none", max_retries=0)


def text_of(message: Any) -> str:
    return "".join(block.text for block in message.content if block.type == "text")


@asynccontextmanager
async def google_client(url: str) -> AsyncIterator[Any]:
    options = HttpOptions(base_url=url.removesuffix("/v1"), api_version="v1beta")
    async with GoogleClient(api_key="none", http_options=options).aio as client:
        yield client


LOOPS: tuple[Talk, ...] = (
    chat_loop, chat_streamed, responses_loop, responses_streamed, anthropic_loop,
    anthropic_streamed, google_loop, google_streamed,
)  # fmt: skip
