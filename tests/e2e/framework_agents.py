"""A conversation with a real agent of each framework, its own client pointed at a scripted model.

Each takes the model's base URL, a tool, the model's name and the questions, and gives the answers.
"""

from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import openai

from runner.adapters import (
    anthropic_messages,
    google_genai,
    langchain,
    openai_agents,
    openai_chat,
    openai_responses,
    pydantic_ai,
)
from runner.dispatch import PythonTool

Talk = Callable[[str, PythonTool, str, Sequence[str]], Coroutine[Any, Any, list[str]]]


def openai_client(url: str) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=0)


async def chat_loop(
    url: str, python: PythonTool, model: str, questions: Sequence[str]
) -> list[str]:
    answers, messages = [], list[Any]()
    async with openai_client(url) as client:
        for question in questions:
            messages.append({"role": "user", "content": question})
            while True:
                reply = await client.chat.completions.create(
                    model=model, messages=messages, tools=[openai_chat.definition()]
                )
                message = reply.choices[0].message
                results = await openai_chat.answer_calls(python, message)
                messages += [message, *results]
                if not results:
                    break
            answers.append(message.content or "")
    return answers


async def chat_streamed(
    url: str, python: PythonTool, model: str, questions: Sequence[str]
) -> list[str]:
    answers, messages = [], list[Any]()
    async with openai_client(url) as client:
        for question in questions:
            messages.append({"role": "user", "content": question})
            results = [{}]
            while results:
                asked = client.chat.completions.stream(
                    model=model, messages=messages, tools=[openai_chat.definition()]
                )
                async with asked as stream:
                    message = (await stream.get_final_completion()).choices[0].message
                results = await openai_chat.answer_calls(python, message)
                messages += [message, *results]
            answers.append(message.content or "")
    return answers


async def responses_loop(
    url: str, python: PythonTool, model: str, questions: Sequence[str]
) -> list[str]:
    answers, items = [], list[Any]()
    async with openai_client(url) as client:
        for question in questions:
            items.append({"role": "user", "content": question})
            results = [{}]
            while results:
                reply = await client.responses.create(
                    model=model, input=items, tools=[openai_responses.definition()]
                )
                results = await openai_responses.answer_calls(python, reply.output)
                items += [*reply.output, *results]
            answers.append(reply.output_text)
    return answers


async def responses_streamed(
    url: str, python: PythonTool, model: str, questions: Sequence[str]
) -> list[str]:
    answers, items = [], list[Any]()
    async with openai_client(url) as client:
        for question in questions:
            items.append({"role": "user", "content": question})
            results = [{}]
            while results:
                asked = client.responses.stream(
                    model=model, input=items, tools=[openai_responses.definition()]
                )
                async with asked as stream:
                    reply = await stream.get_final_response()
                results = await openai_responses.answer_calls(python, reply.output)
                items += [*_as_input(reply.output), *results]
            answers.append(reply.output_text)
    return answers


def _as_input(output: Sequence[Any]) -> list[Any]:
    """The helper of streams adds parsed arguments, which are no part of an input item."""
    extra = {"parsed_arguments": True, "content": {"__all__": {"parsed"}}}
    return [item.model_dump(exclude=extra, exclude_none=True) for item in output]


async def anthropic_loop(
    url: str, python: PythonTool, model: str, questions: Sequence[str]
) -> list[str]:
    from anthropic import AsyncAnthropic

    answers, messages = [], list[Any]()
    async with AsyncAnthropic(base_url=_root(url), api_key="none") as client:
        for question in questions:
            messages.append({"role": "user", "content": question})
            results = [{}]
            while results:
                reply = await client.messages.create(
                    model=model,
                    messages=messages,
                    tools=[anthropic_messages.definition()],  # type: ignore[list-item]
                    max_tokens=1000,
                )
                results = await anthropic_messages.answer_calls(python, reply)
                messages += [{"role": "assistant", "content": reply.content}, *results]
            answers.append(_last_text(reply))
    return answers


async def anthropic_streamed(
    url: str, python: PythonTool, model: str, questions: Sequence[str]
) -> list[str]:
    from anthropic import AsyncAnthropic

    answers, messages = [], list[Any]()
    async with AsyncAnthropic(base_url=_root(url), api_key="none") as client:
        for question in questions:
            messages.append({"role": "user", "content": question})
            results = [{}]
            while results:
                asked = client.messages.stream(
                    model=model,
                    messages=messages,
                    tools=[anthropic_messages.definition()],  # type: ignore[list-item]
                    max_tokens=1000,
                )
                async with asked as stream:
                    reply = await stream.get_final_message()
                results = await anthropic_messages.answer_calls(python, reply)
                messages += [{"role": "assistant", "content": reply.content}, *results]
            answers.append(_last_text(reply))
    return answers


async def anthropic_runner(
    url: str, python: PythonTool, model: str, questions: Sequence[str]
) -> list[str]:
    from anthropic import AsyncAnthropic

    answers, messages = [], list[Any]()
    async with AsyncAnthropic(base_url=_root(url), api_key="none") as client:
        for question in questions:
            messages.append({"role": "user", "content": question})
            runner = client.beta.messages.tool_runner(
                model=model,
                messages=messages,
                tools=[anthropic_messages.tool(python)],
                max_tokens=1000,
            )
            async for reply in runner:
                messages.append({"role": "assistant", "content": reply.content})
                if results := await runner.generate_tool_call_response():
                    messages.append(results)
            answers.append(_last_text(reply))
    return answers


async def google_loop(
    url: str, python: PythonTool, model: str, questions: Sequence[str]
) -> list[str]:
    answers, contents = [], list[Any]()
    async with _google_client(url) as client:
        for question in questions:
            contents.append({"role": "user", "parts": [{"text": question}]})
            results = [{}]
            while results:
                reply = await client.models.generate_content(
                    model=model, contents=contents, config={"tools": [google_genai.tool()]}
                )
                content = reply.candidates[0].content
                results = await google_genai.answer_calls(python, content)
                contents += [content, *results]
            answers.append(reply.text)
    return answers


async def google_streamed(
    url: str, python: PythonTool, model: str, questions: Sequence[str]
) -> list[str]:
    answers, contents = [], list[Any]()
    async with _google_client(url) as client:
        for question in questions:
            contents.append({"role": "user", "parts": [{"text": question}]})
            results = [{}]
            while results:
                parts, text = list[Any](), ""
                config = {"tools": [{"function_declarations": [google_genai.definition()]}]}
                async for piece in await client.models.generate_content_stream(
                    model=model, contents=contents, config=config
                ):
                    parts += piece.candidates[0].content.parts
                    text += piece.text or ""
                content = {"role": "model", "parts": [part.model_dump() for part in parts]}
                results = await google_genai.answer_calls(python, content, images="inside")
                contents += [{"role": "model", "parts": parts}, *results]
            answers.append(text)
    return answers


async def agents_sdk(
    url: str, python: PythonTool, model: str, questions: Sequence[str]
) -> list[str]:
    from agents import Agent, OpenAIResponsesModel, RunConfig, Runner

    answers, items = [], list[Any]()
    async with openai_client(url) as client:
        agent = Agent(
            name="Analyst",
            model=OpenAIResponsesModel(model, client),
            tools=[openai_agents.tool(python)],
        )
        for question in questions:
            items.append({"role": "user", "content": question})
            run = await Runner.run(agent, items, run_config=RunConfig(tracing_disabled=True))
            items = list(run.to_input_list())
            answers.append(run.final_output)
    return answers


async def agents_sdk_streamed(
    url: str, python: PythonTool, model: str, questions: Sequence[str]
) -> list[str]:
    from agents import Agent, OpenAIResponsesModel, RunConfig, Runner

    answers, items = [], list[Any]()
    async with openai_client(url) as client:
        agent = Agent(
            name="Analyst",
            model=OpenAIResponsesModel(model, client),
            tools=[openai_agents.tool(python)],
        )
        for question in questions:
            items.append({"role": "user", "content": question})
            run = Runner.run_streamed(agent, items, run_config=RunConfig(tracing_disabled=True))
            async for _ in run.stream_events():
                pass
            items = list(run.to_input_list())
            answers.append(run.final_output)
    return answers


async def langchain_agent(
    url: str, python: PythonTool, model: str, questions: Sequence[str]
) -> list[str]:
    return await _langchain(url, langchain.tool(python), model, questions, use_responses_api=True)


async def langchain_streamed(
    url: str, python: PythonTool, model: str, questions: Sequence[str]
) -> list[str]:
    settings = {"use_responses_api": True, "streaming": True}
    return await _langchain(url, langchain.tool(python), model, questions, **settings)


async def langchain_over_chat(
    url: str, python: PythonTool, model: str, questions: Sequence[str]
) -> list[str]:
    tool = langchain.tool(python, shows_images=False)
    return await _langchain(url, tool, model, questions, use_responses_api=False)


async def _langchain(
    url: str, tool: Any, model: str, questions: Sequence[str], **settings: Any
) -> list[str]:
    from langchain.agents import create_agent
    from langchain_openai import ChatOpenAI

    answers, messages = [], list[Any]()
    async with openai.DefaultAsyncHttpxClient() as http:
        chat = ChatOpenAI(
            model=model, base_url=url, api_key="none", http_async_client=http, **settings
        )
        agent: Any = create_agent(chat, [tool])
        for question in questions:
            state = await agent.ainvoke({"messages": [*messages, ("user", question)]})
            messages = state["messages"]
            answers.append(messages[-1].text)
    return answers


async def pydantic_ai_chat(
    url: str, python: PythonTool, model: str, questions: Sequence[str]
) -> list[str]:
    return await _pydantic_ai("OpenAIChatModel", url, python, model, questions)


async def pydantic_ai_responses(
    url: str, python: PythonTool, model: str, questions: Sequence[str]
) -> list[str]:
    return await _pydantic_ai("OpenAIResponsesModel", url, python, model, questions)


async def _pydantic_ai(
    kind: str, url: str, python: PythonTool, model: str, questions: Sequence[str]
) -> list[str]:
    import pydantic_ai.models.openai as models
    from pydantic_ai import Agent
    from pydantic_ai.providers.openai import OpenAIProvider

    answers, history = [], list[Any]()
    async with openai_client(url) as client:
        provider = OpenAIProvider(openai_client=client)
        agent: Agent[None, str] = Agent(
            getattr(models, kind)(model, provider=provider), tools=[_tool_of_pydantic_ai(python)]
        )
        for question in questions:
            run = await agent.run(question, message_history=history)
            history = run.all_messages()
            answers.append(run.output)
    return answers


async def pydantic_ai_streamed(
    url: str, python: PythonTool, model: str, questions: Sequence[str]
) -> list[str]:
    from pydantic_ai import Agent
    from pydantic_ai.models.openai import OpenAIChatModel
    from pydantic_ai.providers.openai import OpenAIProvider

    answers, history = [], list[Any]()
    async with openai_client(url) as client:
        provider = OpenAIProvider(openai_client=client)
        agent = Agent(
            OpenAIChatModel(model, provider=provider), tools=[_tool_of_pydantic_ai(python)]
        )
        for question in questions:
            events = agent.run_stream_events(question, message_history=history)
            async with events as stream:
                async for event in stream:
                    last: Any = event
            history = last.result.all_messages()
            answers.append(last.result.output)
    return answers


def _tool_of_pydantic_ai(python: PythonTool) -> Any:
    return pydantic_ai.tool(python)


def _google_client(url: str) -> Any:
    from google import genai

    options = {"base_url": _root(url), "api_version": "v1beta"}
    return genai.Client(api_key="none", http_options=options).aio


def _root(url: str) -> str:
    return url.removesuffix("/v1")


def _last_text(message: Any) -> str:
    return str(message.content[-1].text)


WITH_IMAGES: tuple[Talk, ...] = (
    chat_loop,
    chat_streamed,
    responses_loop,
    responses_streamed,
    anthropic_loop,
    anthropic_streamed,
    anthropic_runner,
    google_loop,
    google_streamed,
    agents_sdk,
    agents_sdk_streamed,
    langchain_agent,
    langchain_streamed,
    pydantic_ai_chat,
    pydantic_ai_responses,
    pydantic_ai_streamed,
)
