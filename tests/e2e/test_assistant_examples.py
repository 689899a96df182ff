"""The example of each framework runs as it stands, and reaches nothing but this machine."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from runner.demo import PNG_SIGNATURE
from runner.scripted_model.server import serving
from tests.support.service import ServiceProcess

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted(path.stem for path in (ROOT / "runner/examples").glob("assistant_*.py"))
KEYS = ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY")

# Runs an example in a process whose every connection is looked at before it is made.
GUARDED = """
import runpy, sys

def refuse(event, arguments):
    if event == "socket.connect" and not isinstance(arguments[1], (str, bytes)):
        if arguments[1][0] not in ("127.0.0.1", "::1"):
            print("left this machine for", arguments[1], file=sys.stderr)
            raise ConnectionRefusedError(arguments[1])
    if event == "socket.getaddrinfo" and arguments[0] not in ("127.0.0.1", "localhost", None):
        print("looked up", arguments[0], file=sys.stderr)
        raise ConnectionRefusedError(arguments[0])

sys.addaudithook(refuse)
runpy.run_module(f"runner.examples.{sys.argv[1]}", run_name="__main__")
"""


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    with ServiceProcess(tmp_path_factory.mktemp("service"), backend="unsafe_local") as service:
        yield service


def environment(service: ServiceProcess, url: str) -> dict[str, str]:
    """Where everything is, and no key, proxy or tracing of whoever runs the tests."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    root = url.removesuffix("/v1")
    return {
        **kept,
        **dict.fromkeys(KEYS, "none"),
        "PYTHONPATH": str(ROOT),
        "OPENAI_BASE_URL": url,
        "ANTHROPIC_BASE_URL": root,
        "GOOGLE_GEMINI_BASE_URL": root,
        "RUNNER_MODEL": "weather-in-two-turns",
        "SANDBOX_URL": service.url,
        "SANDBOX_API_KEY": service.key,
    }


def test_there_is_an_example_of_every_framework() -> None:
    """One for each adapter that a model or an agent stands behind."""
    assert EXAMPLES == [
        "assistant_anthropic",
        "assistant_google",
        "assistant_langchain",
        "assistant_openai_agents",
        "assistant_openai_chat",
        "assistant_openai_responses",
        "assistant_pydantic_ai",
    ]


@pytest.mark.parametrize("example", EXAMPLES)
async def test_the_example_answers_and_saves_chart_and_table(
    local: ServiceProcess, tmp_path: Path, example: str
) -> None:
    """Both answers, real links, two files; connections to loopback alone."""
    async with serving() as url:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            GUARDED,
            example,
            cwd=tmp_path,
            env=environment(local, url),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        said, errors = (part.decode() for part in await process.communicate())
    assert process.returncode == 0, errors
    assert "left this machine" not in errors
    assert "looked up" not in errors
    assert "August (20.4 °C)" in said
    assert f"[chart]({local.url}/v1/artifacts/" in said
    assert "There were 405 mm between the wettest and the driest year." in said
    assert (tmp_path / "results/seattle-weather.png").read_bytes().startswith(PNG_SIGNATURE)
    assert (tmp_path / "results/seattle-monthly-temperature.csv").exists()
