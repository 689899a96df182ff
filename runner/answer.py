"""One question from beginning to end: model, session, events on the screen, results on the disk."""

from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from runner.config import ModelConfig, TurnLimits
from runner.dispatch import PythonTool
from runner.events import TurnFinished
from runner.loop import Assistant
from runner.model import OpenAIModel
from runner.results import Results
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
    files = {path.name: path for path in question.files}
    results = Results()
    async with OpenAIModel(config) as model, PythonTool(client, files) as tool:
        assistant = Assistant(model, tool, question.limits)
        async with aclosing(assistant.ask(question.text)) as events:
            async for event in events:
                terminal.show(event)
                results.add(event)
        saved = await results.save(question.out)
    assert isinstance(event, TurnFinished)
    return Answer(event, saved)


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
