"""The assistant on the real service: the scripted model writes the code, the sandbox runs it."""

import csv
import io
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from runner.answer import Question, answer
from runner.config import ModelConfig, TurnLimits
from runner.demo import PNG_SIGNATURE, WEATHER
from runner.dispatch import PythonTool
from runner.events import CallFinished, Event, OutputSeen, TurnFinished
from runner.loop import Assistant
from runner.model import OpenAIModel
from runner.scripted_model.server import serving
from runner.shape import STATE_LOST
from runner.terminal import Terminal
from sandbox_service.client import SandboxClient
from tests.support.service import ServiceProcess

ROOT = Path(__file__).parents[2]


@pytest_asyncio.fixture
async def client(service: ServiceProcess) -> AsyncIterator[SandboxClient]:
    async with SandboxClient(service.url, service.key) as client:
        yield client


@pytest_asyncio.fixture(scope="module")
async def endpoint() -> AsyncIterator[str]:
    async with serving() as url:
        yield url


async def asked(
    client: SandboxClient,
    endpoint: str,
    script: str,
    *questions: str,
    limits: TurnLimits | None = None,
) -> list[Event]:
    """The events of the last of these questions, asked in one conversation."""
    model = OpenAIModel(ModelConfig("none", script, endpoint))
    events: list[Event] = []
    async with model, PythonTool(client) as tool:
        assistant = Assistant(model, tool, limits)
        for question in questions:
            events = [event async for event in assistant.ask(question)]
    return events


def answer_of(events: list[Event]) -> str:
    assert isinstance(events[-1], TurnFinished)
    return events[-1].text


async def test_a_question_about_a_table_gives_an_answer_a_chart_and_a_csv(
    client: SandboxClient, endpoint: str, tmp_path: Path
) -> None:
    """The main job: numbers that the code printed, and both files open."""
    screen = io.StringIO()
    question = Question("How is the weather?", (WEATHER,), tmp_path)
    config = ModelConfig("none", "seattle-weather", endpoint)
    result = await answer(question, client, config, Terminal(screen))
    assert "August (20.4 °C)" in result.turn.text
    assert "2014 (1233 mm), the driest 2013 (828 mm)" in result.turn.text
    assert sorted(path.name for path in result.saved) == [
        "seattle-monthly-temperature.csv",
        "seattle-weather.png",
    ]
    assert (tmp_path / "seattle-weather.png").read_bytes().startswith(PNG_SIGNATURE)
    with (tmp_path / "seattle-monthly-temperature.csv").open() as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["month", "2012", "2013", "2014", "2015"]
    assert len(rows) == 13
    assert "1461 days" in screen.getvalue()


async def test_a_chart_that_was_only_shown_reaches_the_model_and_the_caller(
    client: SandboxClient, endpoint: str, tmp_path: Path
) -> None:
    """As an image part and as a saved file; as text only its size."""
    code = "import matplotlib.pyplot as plt\nplt.plot([1, 2])\nplt.show()"
    config = ModelConfig("none", "echo", endpoint)
    result = await answer(Question(code, (), tmp_path), client, config, Terminal(io.StringIO()))
    assert result.turn.text.startswith("[picture 1, ")
    assert [path.name for path in result.saved] == ["chart-1.png"]
    assert result.saved[0].read_bytes().startswith(PNG_SIGNATURE)


async def test_the_model_mends_its_own_error(client: SandboxClient, endpoint: str) -> None:
    """It reads the real traceback."""
    events = await asked(client, endpoint, "fix-own-error", "Add up.")
    assert answer_of(events) == "The total is 5050."


async def test_two_calls_of_one_turn_share_the_kernel(client: SandboxClient, endpoint: str) -> None:
    """In their order."""
    events = await asked(client, endpoint, "two-calls", "Go.")
    assert answer_of(events) == "In order: 6 then 42."


async def test_state_is_kept_between_questions(client: SandboxClient, endpoint: str) -> None:
    """One session per conversation."""
    events = await asked(client, endpoint, "echo", "n = 41", "n + 1")
    assert answer_of(events) == "42"


async def test_a_closed_session_is_replaced_and_the_model_is_told(
    client: SandboxClient, endpoint: str
) -> None:
    """The files that the code made are there again, the variables are not."""
    model = OpenAIModel(ModelConfig("none", "echo", endpoint))
    async with model, PythonTool(client) as tool:
        assistant = Assistant(model, tool)
        write = "n = 1\nopen('made.txt', 'w').write('kept')"
        _ = [event async for event in assistant.ask(write)]
        (newest, *_) = await client.sessions(limit=1)
        await client.session(newest.id).close()
        look = "print('n' in globals(), open('made.txt').read())"
        events = [event async for event in assistant.ask(look)]
    text = answer_of(events)
    assert text.startswith("A new session was opened, since the one before is over: it was closed.")
    assert "files restored: made.txt." in text
    assert text.endswith("False kept")


async def test_a_lost_kernel_is_said_plainly(client: SandboxClient, endpoint: str) -> None:
    """The call after it works and says that variables are gone."""
    events = await asked(client, endpoint, "echo", "import os; os._exit(1)")
    assert "The kernel died (exit code 1)" in answer_of(events)
    assert STATE_LOST in answer_of(events)


async def test_the_time_limit_interrupts_the_cell_and_keeps_the_variables(
    client: SandboxClient, endpoint: str
) -> None:
    """The session answers at once afterwards."""
    model = OpenAIModel(ModelConfig("none", "echo", endpoint))
    async with model, PythonTool(client) as tool:
        patient = Assistant(model, tool)
        async for _ in patient.ask("n = 7"):
            pass
        hurried = Assistant(model, tool, TurnLimits(time_s=4))
        endless = "import time\nwhile True: time.sleep(0.1)"
        events = [event async for event in hurried.ask(endless)]
        assert isinstance(events[-1], TurnFinished)
        assert events[-1].reason == "time_limit"
        events = [event async for event in patient.ask("n")]
    assert answer_of(events) == "7"


async def test_output_is_seen_while_the_code_runs(client: SandboxClient, endpoint: str) -> None:
    """The cell waits for a file that only the reader of its output puts there."""
    code = """\
import os, time
print("waiting", flush=True)
while not os.path.exists("go"): time.sleep(0.05)
print("seen")"""
    model = OpenAIModel(ModelConfig("none", "echo", endpoint))
    async with model, PythonTool(client) as tool:
        events = []
        async for event in Assistant(model, tool).ask(code):
            if isinstance(event, OutputSeen) and "waiting" in event.change.output["text"]:
                (newest, *_) = await client.sessions(limit=1)
                await client.session(newest.id).upload(b"", "go")
            events.append(event)
    assert answer_of(events) == "waiting\nseen"


async def test_no_session_is_left_after_a_conversation(
    client: SandboxClient, endpoint: str
) -> None:
    """Closed at the end, also when the consumer leaves in the middle."""
    model = OpenAIModel(ModelConfig("none", "never-ends", endpoint))
    async with model, PythonTool(client) as tool:
        events = Assistant(model, tool).ask("go")
        async for event in events:
            if isinstance(event, CallFinished):
                break
        await events.aclose()
    sessions = await client.sessions(limit=100)
    assert [session.id for session in sessions if session.status in ("starting", "ready")] == []


def command(service: ServiceProcess, *arguments: str) -> dict[str, object]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("SANDBOX_", "OPENAI_"))}
    environment |= {"SANDBOX_URL": service.url, "SANDBOX_API_KEY": service.key}
    return {
        "args": [sys.executable, "-m", "runner", *arguments],
        "cwd": ROOT,
        "env": environment,
        "text": True,
    }


def test_the_command_answers_and_saves(service: ServiceProcess, tmp_path: Path) -> None:
    """`python -m runner` as a person types it, on any table."""
    table = tmp_path / "sales figures.csv"
    table.write_text("month,amount\n1,10\n2,32\n")
    asked = command(service, "What is in it?", "--file", str(table), "--out", str(tmp_path / "out"))
    done = subprocess.run(**asked, capture_output=True, timeout=100)
    assert done.returncode == 0, done.stderr
    assert "No OPENAI_API_KEY" in done.stdout
    assert "sales figures.csv: 2 rows, columns month, amount" in done.stdout


def test_the_command_says_that_the_key_is_wrong(service: ServiceProcess) -> None:
    """One sentence, exit status 1."""
    done = subprocess.run(
        **command(service, "x", "--api-key", "wrong"), capture_output=True, timeout=60
    )
    assert done.returncode == 1
    assert "the service refused the key" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_command_can_be_interrupted(service: ServiceProcess, tmp_path: Path) -> None:
    """Ctrl-C while a cell runs ends it without a traceback."""
    asked = command(service, "go", "--model", "endless-cell", "--out", str(tmp_path))
    with subprocess.Popen(**asked, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        while "│ started" not in process.stdout.readline():
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in errors
