"""What is saved, what is shown, and what the command says when something is missing."""

import base64
import io
import os
from pathlib import Path
from typing import Any

import httpx
import pytest

from runner.__main__ import main
from runner.answer import script_for
from runner.demo import DemoFailed, checked
from runner.dispatch import PythonTool
from runner.events import CodeStarted, TextDelta
from runner.local_service import service_environment
from runner.results import Results
from runner.terminal import Terminal
from sandbox_service.client import SandboxClient
from tests.unit.fakes.rest_service import KEY, RestService

PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 20


def figure(*_: Any) -> list[dict[str, Any]]:
    data = {"image/png": base64.b64encode(PNG).decode(), "text/plain": "<Figure>"}
    return [{"output_type": "display_data", "data": data, "metadata": {}}]


async def results_of(service: RestService, calls: int) -> Results:
    """What a few calls made, gathered from their events."""
    results = Results()
    transport = httpx.ASGITransport(app=service)
    async with (
        SandboxClient("http://service.test", KEY, transport=transport) as client,
        PythonTool(client) as tool,
    ):
        for _ in range(calls):
            async for event in tool.call("execute_python", '{"code": ""}'):
                results.add(event)
    return results


async def test_pictures_that_were_only_shown_are_saved_too(tmp_path: Path) -> None:
    """Numbered, and never over a file that is there."""
    (tmp_path / "chart-1.png").write_bytes(b"mine")
    results = await results_of(RestService(new_kernel=lambda: figure), calls=2)
    saved = await results.save(tmp_path)
    assert [path.name for path in saved] == ["chart-2.png", "chart-3.png"]
    assert saved[0].read_bytes() == PNG
    assert (tmp_path / "chart-1.png").read_bytes() == b"mine"


async def test_a_figure_shown_and_saved_is_kept_once(tmp_path: Path) -> None:
    """The saved file counts; of a file made twice the latest version."""
    service = RestService(new_kernel=lambda: figure)
    service.patch = lambda execution: execution["artifacts"].append(
        service.add_artifact("chart.png", PNG)
    )
    results = await results_of(service, calls=2)
    assert list(results.artifacts) == ["chart.png"]
    assert results.artifacts["chart.png"].id == "art_2"
    assert results.images == []


async def test_a_name_that_cannot_be_saved_does_not_cost_the_others(tmp_path: Path) -> None:
    """Names come from the sandbox: one that climbs is left out."""
    service = RestService(new_kernel=lambda: figure)
    service.patch = lambda execution: execution["artifacts"].append(
        service.add_artifact("../evil", b"x")
    )
    results = await results_of(service, calls=1)
    saved = await results.save(tmp_path / "out")
    assert [path.name for path in saved] == ["chart-1.png"]
    assert os.listdir(tmp_path) == ["out"]


def test_prose_and_code_are_told_apart_on_the_screen() -> None:
    """Code stands behind a bar on lines of its own."""
    screen = io.StringIO()
    terminal = Terminal(screen)
    for event in (TextDelta("I will "), TextDelta("look."), CodeStarted("a = 1\nprint(a)")):
        terminal.show(event)
    assert screen.getvalue() == "I will look.\n  ┌ python\n  │ a = 1\n  │ print(a)\n"


def test_a_missing_service_is_one_sentence(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What is wrong and what to do, without a traceback."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    status = main(["a question", "--url", "http://127.0.0.1:9", "--out", str(tmp_path / "out")])
    said = capsys.readouterr()
    assert status == 1
    assert said.err.count("\n") == 1
    assert "127.0.0.1:9" in said.err
    assert "make serve" in said.err
    assert "No OPENAI_API_KEY" in said.out
    assert os.listdir(tmp_path) == []


def test_a_missing_file_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    """Before anything is started."""
    assert main(["a question", "--file", "/nonexistent.csv"]) == 1
    assert capsys.readouterr().err == "runner: no such file: /nonexistent.csv\n"


@pytest.mark.parametrize(
    ("names", "script"),
    [([], "describe-files"), (["x.csv"], "describe-files"),
     (["x.csv", "seattle-weather.csv"], "seattle-weather")],
)  # fmt: skip
def test_a_script_is_chosen_by_the_files(names: list[str], script: str) -> None:
    """The one that knows the table, else the one that describes any."""
    assert script_for([Path("/somewhere") / name for name in names]) == script


def test_the_demo_opens_what_it_shows(tmp_path: Path) -> None:
    """A chart that is none, and a table without rows, are not passed over."""
    chart, table = tmp_path / "c.png", tmp_path / "t.csv"
    chart.write_bytes(PNG)
    table.write_text("a,b\n1,2\n")
    assert checked([chart, table])[1] == f"Table: {table} (1 rows, 2 columns)"
    with pytest.raises(DemoFailed, match="no chart or no table"):
        checked([chart])
    table.write_text("a,b\n")
    with pytest.raises(DemoFailed, match="no rows"):
        checked([chart, table])
    chart.write_bytes(b"GIF8")
    with pytest.raises(DemoFailed, match="not a PNG"):
        checked([chart, table])


def test_a_local_service_shares_nothing_with_another(tmp_path: Path) -> None:
    """Its own key, directories and instance; the caller's other settings stay."""
    outer = {"PATH": "/bin", "SANDBOX_API_KEYS": "x:y", "SANDBOX_BACKEND": "docker"}
    inner = service_environment(outer, tmp_path, "k")
    assert inner["SANDBOX_API_KEYS"] == "demo:k"
    assert inner["SANDBOX_DATA_DIR"].startswith(str(tmp_path))
    assert inner["SANDBOX_INSTANCE"].startswith("demo-")
    assert (inner["PATH"], inner["SANDBOX_BACKEND"]) == ("/bin", "docker")
