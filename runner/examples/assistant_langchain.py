"""An assistant in LangChain: an agent that remembers its conversation.

The environment says where everything is: OPENAI_BASE_URL, OPENAI_API_KEY, RUNNER_MODEL,
SANDBOX_URL and SANDBOX_API_KEY.
"""

import asyncio
import os
from pathlib import Path
from typing import Any

from langchain.agents import create_agent
from langchain_openai import ChatOpenAI
from langgraph.checkpoint.memory import InMemorySaver

from runner.adapters.langchain import tool
from runner.dispatch import PythonTool

MODEL = os.environ.get("RUNNER_MODEL", "gpt-4.1")
TABLE = Path(__file__).parents[1] / "data" / "seattle-weather.csv"
QUESTIONS = (
    "Draw temperature and rain in seattle-weather.csv, and save the monthly means as a CSV.",
    "How much rain was between the wettest and the driest year?",
)


async def main() -> None:
    model = ChatOpenAI(model=MODEL, use_responses_api=True)  # pictures in results need it
    thread: Any = {"configurable": {"thread_id": "1"}}
    async with PythonTool(files=[TABLE]) as python:
        agent: Any = create_agent(model, [tool(python)], checkpointer=InMemorySaver())
        for question in QUESTIONS:
            state = await agent.ainvoke({"messages": [("user", question)]}, thread)
            print(python.linked(state["messages"][-1].text))
        for path in await python.results.save(Path("results")):
            print(path)


if __name__ == "__main__":
    asyncio.run(main())
