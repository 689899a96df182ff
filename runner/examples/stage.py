"""What every example stands on: a service to run code, and a model to write it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from runner.answer import model_or_script
from runner.config import model_config
from runner.local_service import running_service
from runner.model import OpenAIModel
from runner.scripted_model.example_scripts import serve_example_scripts
from sandbox_service.client import SandboxClient

DATA = Path(__file__).parent / "data"


@dataclass(frozen=True, slots=True)
class Stage:
    """A client of a service that answers, and a model."""

    client: SandboxClient
    model: OpenAIModel


@asynccontextmanager
async def stage(script: str) -> AsyncIterator[Stage]:
    """The service of SANDBOX_URL, else one for the moment; the model of OPENAI_BASE_URL or
    OPENAI_API_KEY, else the scripted model, which plays `script`.
    """
    serve_example_scripts()
    async with (
        running_service(print) as client,
        model_or_script(model_config(), script) as config,
        OpenAIModel(config) as model,
    ):
        yield Stage(client, model)
