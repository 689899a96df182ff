"""Conversations with an agent object of each framework, its own client pointed at a model."""

from collections.abc import Sequence
from typing import Any

import openai
import pydantic_ai.models.openai as pydantic_models
from agents import Agent as SdkAgent
from agents import OpenAIResponsesModel, RunConfig, Runner
from langchain.agents import create_agent
from langchain_openai import ChatOpenAI
from pydantic import SecretStr
from pydantic_ai import Agent as PydanticAgent
from pydantic_ai.providers.openai import OpenAIProvider

from runner.adapters import anthropic_messages, langchain, openai_agents, pydantic_ai
from runner.dispatch import PythonTool
from tests.e2e.framework_loops import Talk, anthropic_client, openai_client, text_of

UNTRACED = RunConfig(tracing_disabled=True)


async def anthropic_runner(
    url: str, python: PythonTool, model: str, questions: Sequence[str]
) -> list[str]:
    answers, messages = [], list[Any]()
    tools = [anthropic_messages.tool(python)]
    async with anthropic_client(url) as client:
        for question in questions:
            messages.append({"role": "user", "content": question})
            runner = client.beta.messages.tool_runner(
                model=model, messages=messages, tools=tools, max_tokens=99
            )
            async for reply in runner:
                messages.append({"role": "assistant", "content": reply.content})
                if results := await runner.generate_tool_call_response():
                    messages.append(results)
            answers.append(text_of(reply))
    return answers


async def agents_sdk(
    url: str, python: PythonTool, model: str, questions: Sequence[str]
) -> list[str]:
    answers, items = [], list[Any]()
    async with openai_client(url) as client:
        agent = _sdk_agent(client, python, model)
        for question in questions:
            items.append({"role": "user", "content": question})
            run = await Runner.run(agent, items, run_config=UNTRACED)
            items = list(run.to_input_list())
            answers.append(run.final_output)
    return answers


async def agents_sdk_streamed(
    url: str, python: PythonTool, model: str, questions: Sequence[str]
) -> list[str]:
    answers, items = [], list[Any]()
    async with openai_client(url) as client:
        agent = _sdk_agent(client, python, model)
        for question in questions:
            items.append({"role": "user", "content": question})
            run = Runner.run_streamed(agent, items, run_config=UNTRACED)
            async for _ in run.stream_events():
                pass
            items = list(run.to_input_list())
            answers.append(run.final_output)
    return answers


def _sdk_agent(client: openai.AsyncOpenAI, python: PythonTool, model: str) -> SdkAgent[Any]:
    answering = OpenAIResponsesModel(model, client)
    return SdkAgent(name="Analyst", model=answering, tools=[openai_agents.tool(python)])


async def langchain_agent(
    url: str, python: PythonTool, model: str, questions: Sequence[str]
) -> list[str]:
    tool = langchain.tool(python)
    return await _langchain(url, tool, model, questions, use_responses_api=True)


async def langchain_streamed(
    url: str, python: PythonTool, model: str, questions: Sequence[str]
) -> list[str]:
    tool = langchain.tool(python)
    return await _langchain(url, tool, model, questions, use_responses_api=True, streaming=True)


async def langchain_over_chat(
    url: str, python: PythonTool, model: str, questions: Sequence[str]
) -> list[str]:
    tool = langchain.tool(python, shows_images=False)
    return await _langchain(url, tool, model, questions, use_responses_api=False)


async def _langchain(
    url: str, tool: Any, model: str, questions: Sequence[str], **settings: Any
) -> list[str]:
    answers, messages = [], list[Any]()
    async with openai.DefaultAsyncHttpxClient() as http:
        settings |= {"base_url": url, "api_key": SecretStr("none"), "http_async_client": http}
        agent: Any = create_agent(ChatOpenAI(model=model, **settings), [tool])
        for question in questions:
            state = await agent.ainvoke({"messages": [*messages, ("user", question)]})
            messages = state["messages"]
            answers.append(messages[-1].text)
    return answers


async def pydantic_ai_chat(
    url: str, python: PythonTool, model: str, questions: Sequence[str]
) -> list[str]:
    return await _pydantic_ai(pydantic_models.OpenAIChatModel, url, python, model, questions)


async def pydantic_ai_responses(
    url: str, python: PythonTool, model: str, questions: Sequence[str]
) -> list[str]:
    return await _pydantic_ai(pydantic_models.OpenAIResponsesModel, url, python, model, questions)


async def _pydantic_ai(
    kind: Any, url: str, python: PythonTool, model: str, questions: Sequence[str]
) -> list[str]:
    answers, history = [], list[Any]()
    async with openai_client(url) as client:
        answering = kind(model, provider=OpenAIProvider(openai_client=client))
        agent: Any = PydanticAgent(answering, tools=[pydantic_ai.tool(python)])
        for question in questions:
            run = await agent.run(question, message_history=history)
            history = run.all_messages()
            answers.append(run.output)
    return answers


async def pydantic_ai_streamed(
    url: str, python: PythonTool, model: str, questions: Sequence[str]
) -> list[str]:
    answers, history = [], list[Any]()
    async with openai_client(url) as client:
        provider = OpenAIProvider(openai_client=client)
        answering = pydantic_models.OpenAIChatModel(model, provider=provider)
        agent: Any = PydanticAgent(answering, tools=[pydantic_ai.tool(python)])
        for question in questions:
            async with agent.run_stream_events(question, message_history=history) as events:
                async for event in events:
                    last: Any = event
            history = last.result.all_messages()
            answers.append(last.result.output)
    return answers


AGENTS: tuple[Talk, ...] = (
    anthropic_runner, agents_sdk, agents_sdk_streamed, langchain_agent, langchain_streamed,
    pydantic_ai_chat, pydantic_ai_responses, pydantic_ai_streamed,
)  # fmt: skip
