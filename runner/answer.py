"""One question from beginning to end: model, session, events on the screen, results on the disk."""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from runner.config import ModelConfig, TurnLimits
from runner.dispatch import PythonTool
from runner.events import Event, TextDelta, TurnFinished
from runner.loop import Assistant
from runner.model import OpenAIModel
from runner.scripted_model.server import serving
from runner.terminal import Terminal
from sandbox_service.client import SandboxClient


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked, about which files, and where what it makes is saved."""

    text: str
    files: tuple[Path, ...]
    out: Path
    limits: TurnLimits = field(default_factory=TurnLimits)


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of it."""

    turn: TurnFinished
    saved: Sequence[Path]


async def answer(
    question: Question, client: SandboxClient, config: ModelConfig, terminal: Terminal
) -> Answer:
    """Ask, show what happens, save what is made. Raises ModelFailed, ClientError, OSError."""
    async with OpenAIModel(config) as model, PythonTool(client, question.files) as tool:
        assistant = Assistant(model, tool, question.limits)
        async with aclosing(_linked(assistant.ask(question.text), tool)) as events:
            async for event in events:
                terminal.show(event)
        saved = await tool.results.save(question.out)
    assert isinstance(event, TurnFinished)
    return Answer(replace(event, text=tool.linked(event.text)), saved)


async def _linked(events: AsyncGenerator[Event], tool: PythonTool) -> AsyncGenerator[Event]:
    """The events with real links in their text; what is held back comes before anything else."""
    links = tool.linked_pieces()
    async with aclosing(events):
        async for event in events:
            if isinstance(event, TextDelta):
                yield TextDelta(links.feed(event.text))
                continue
            if rest := links.end():
                yield TextDelta(rest)
            yield event


@asynccontextmanager
async def model_or_script(config: ModelConfig | None, script: str) -> AsyncIterator[ModelConfig]:
    """The endpoint given, or the scripted model on a loopback port playing `script`."""
    if config is not None:
        yield config
        return
    async with serving() as base_url:
        yield ModelConfig("scripted", script, base_url)


def script_for(files: Sequence[Path]) -> str:
    """The script that fits the files: one knows the Seattle table, the other describes any."""
    names = {path.name for path in files}
    return "seattle-weather" if "seattle-weather.csv" in names else "describe-files"
