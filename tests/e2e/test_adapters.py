"""A real agent of each framework answers two questions with one session behind its tool."""

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from io import BytesIO
from pathlib import Path

import httpx
import PIL.Image
import pytest

from runner.demo import PNG_SIGNATURE, WEATHER
from runner.dispatch import PythonTool
from runner.scripted_model.server import ScriptedModel, serving
from sandbox_service.client import SandboxClient
from tests.e2e.framework_agents import AGENTS, agents_sdk, langchain_over_chat
from tests.e2e.framework_loops import LOOPS, Talk, chat_loop, responses_loop
from tests.e2e.sent_images import shown_images
from tests.support.service import ServiceProcess

# Of the Google client, which builds on a class that its HTTP library does not want built on.
pytestmark = pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession")

CONVERSATION = "weather-in-two-turns"
DRAW = "Draw temperature and rain, and give me the table."
COMPARE = "How much rain was between the wettest and the driest year?"
COMPARED = "There were 405 mm between the wettest and the driest year."


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    with ServiceProcess(tmp_path_factory.mktemp("service"), backend="unsafe_local") as service:
        yield service


@pytest.fixture
async def client(local: ServiceProcess) -> AsyncIterator[SandboxClient]:
    async with SandboxClient(local.url, local.key) as client:
        yield client


@asynccontextmanager
async def scripted() -> AsyncIterator[tuple[ScriptedModel, str]]:
    model = ScriptedModel()
    async with serving(model) as url:
        yield model, url


@pytest.mark.parametrize("talk", [*LOOPS, *AGENTS], ids=lambda talk: talk.__name__)
async def test_two_questions_share_a_session_and_chart_and_table_reach_the_caller(
    client: SandboxClient, talk: Talk, tmp_path: Path
) -> None:
    """The chart reaches the model as a bounded image part, and nothing as base64 text."""
    async with scripted() as (model, url), PythonTool(client, [WEATHER]) as python:
        drawn, compared = await talk(url, python, CONVERSATION, (DRAW, COMPARE))
        saved = {path.name: path.read_bytes() for path in await python.results.save(tmp_path)}
        linked = python.linked(drawn)
    assert "August (20.4 °C)" in drawn
    assert compared == COMPARED
    assert saved["seattle-weather.png"].startswith(PNG_SIGNATURE)
    assert saved["seattle-monthly-temperature.csv"].startswith(b"month,2012,2013,2014,2015\n")
    assert "sandbox:" not in linked
    async with httpx.AsyncClient(trust_env=False) as http:
        link = linked.partition("[chart](")[2].partition(")")[0]
        assert (await http.get(link)).content == saved["seattle-weather.png"]
    (chart,) = shown_images(model.sent)
    assert chart.width > chart.height > 300


@pytest.mark.parametrize("talk", AGENTS, ids=lambda talk: talk.__name__)
async def test_calls_of_one_reply_run_in_their_order(client: SandboxClient, talk: Talk) -> None:
    """Frameworks start them together; the second one needs the variable of the first."""
    async with scripted() as (_, url), PythonTool(client) as python:
        assert await talk(url, python, "two-calls", ("Go.",)) == ["In order: 6 then 42."]


@pytest.mark.parametrize(
    "talk", [chat_loop, responses_loop, agents_sdk], ids=lambda talk: talk.__name__
)
async def test_a_malformed_call_is_corrected_by_the_model(
    client: SandboxClient, talk: Talk
) -> None:
    """It is told what was wrong, and calls again."""
    async with scripted() as (_, url), PythonTool(client) as python:
        assert await talk(url, python, "malformed-arguments", ("Go.",)) == ["well formed"]


async def test_without_pictures_the_agent_works_over_chat_completions(
    client: SandboxClient,
) -> None:
    """LangChain puts pictures into tool messages, which that protocol refuses."""
    async with scripted() as (model, url), PythonTool(client, [WEATHER]) as python:
        answers = await langchain_over_chat(url, python, CONVERSATION, (DRAW, COMPARE))
    assert answers[1] == COMPARED
    assert shown_images(model.sent) == []


@pytest.mark.parametrize("talk", [chat_loop, responses_loop], ids=lambda talk: talk.__name__)
async def test_a_poster_is_made_small_for_the_model_and_stays_large_for_the_person(
    client: SandboxClient, talk: Talk
) -> None:
    """Four million pixels that no scaling makes plain: bounded in pixels and bytes."""
    code = """\
import numpy as np, matplotlib.pyplot as plt
figure = plt.figure(figsize=(24, 18), dpi=100)
axes = figure.add_axes((0, 0, 1, 1))
axes.imshow(np.random.default_rng(1).random((300, 400, 3)), interpolation="nearest")
plt.show()"""
    async with scripted() as (model, url), PythonTool(client) as python:
        await talk(url, python, "echo", (code,))
        (image,) = python.results.images
    (shown,) = shown_images(model.sent)
    whole = PIL.Image.open(BytesIO(image.content))
    assert whole.width > 2000 > 1568 >= shown.width > 1000


async def test_a_conversation_is_taken_up_by_another_process(client: SandboxClient) -> None:
    """With its session alive: the variables are there, and the links of the first answer."""
    async with scripted() as (_, url):
        async with PythonTool(client, [WEATHER], keep_session=True) as python:
            await chat_loop(url, python, CONVERSATION, (DRAW,))
            state = json.dumps(python.state())
        async with PythonTool.from_state(json.loads(state), client) as again:
            assert (await again.run({"code": "print(round(rain.max()))"})).shaped.text == "1233"
            assert again.linked("sandbox:/mnt/data/seattle-weather.png").startswith("http://")
            (newest, *_) = await client.sessions(limit=1)
            await client.session(newest.id).close()


async def test_an_expired_session_is_replaced_with_its_files_and_the_model_is_told(
    client: SandboxClient,
) -> None:
    """In another process: the given table, the chart and the table made are in the new session."""
    async with scripted() as (_, url):
        async with PythonTool(client, [WEATHER]) as python:
            await chat_loop(url, python, CONVERSATION, (DRAW,))
            state = python.state()
        async with PythonTool.from_state(state, client, keep_session=False) as again:
            code = "import os; print(sorted(os.listdir()), 'rain' in globals())"
            (told,) = await chat_loop(url, again, "echo", (code,))
    names = "seattle-weather.csv, seattle-monthly-temperature.csv, seattle-weather.png"
    assert told.startswith(
        "A new session was opened, since the one before is over: it was closed. "
        f"Variables and imports are gone; files restored: {names}.\n"
    )
    there = ["seattle-monthly-temperature.csv", "seattle-weather.csv", "seattle-weather.png"]
    assert told.endswith(f"{there} False")
