"""A long computation: its output is seen as it prints, and it may take as long as you say."""

import asyncio

from runner.dispatch import PythonTool
from runner.events import OutputSeen, TurnFinished
from runner.examples.stage import stage
from runner.limits import TurnLimits
from runner.loop import Assistant
from sandbox_service.client import SessionOptions

QUESTION = "Estimate pi by chance, and tell me how far you are."
LONGEST_S = 1800.0


async def main() -> None:
    options = SessionOptions(limits={"execution_timeout_s": LONGEST_S})
    limits = TurnLimits(time_s=LONGEST_S)
    async with (
        stage("long-computation") as on,
        PythonTool(on.client, options=options, timeout_s=LONGEST_S) as python,
    ):
        async for event in Assistant(on.model, python, limits).ask(QUESTION):
            match event:
                case OutputSeen(change=change) if change.output.get("name") == "stdout":
                    print(change.output["text"], end="", flush=True)
                case TurnFinished(text=text):
                    print(text)


if __name__ == "__main__":
    asyncio.run(main())
