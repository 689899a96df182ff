"""The service as a caller with nothing but HTTP sees it."""

import base64
import io
import json
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any

import httpx
import nbformat
import openpyxl
import pytest
from PIL import Image

from tests.support.service import ServiceProcess

CHART = "import matplotlib.pyplot as plt\nplt.plot([1, 4, 9])\nplt.show()"


@pytest.fixture
async def session(api: httpx.AsyncClient) -> AsyncIterator[str]:
    """The URL of a fresh session, closed afterwards."""
    answer = await api.post("/v1/sessions", json={})
    assert answer.status_code == 201, answer.text
    url = f"/v1/sessions/{answer.json()['id']}"
    yield url
    await api.delete(url)


async def run(api: httpx.AsyncClient, session: str, code: str, **body: object) -> dict[str, Any]:
    answer = await api.post(f"{session}/executions", json={"code": code, **body})
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def text_of(execution: dict[str, Any]) -> str:
    return "".join(output.get("text", "") for output in execution["outputs"])


async def test_variables_live_from_call_to_call(api: httpx.AsyncClient, session: str) -> None:
    await run(api, session, "x = 41")
    second = await run(api, session, "x + 1")
    assert second["status"] == "ok"
    assert second["outputs"][0]["data"]["text/plain"] == "42"
    assert (second["execution_count"], second["kernel"]["state"]) == (2, "kept")


async def test_a_figure_comes_back_as_a_png_without_savefig(
    api: httpx.AsyncClient, session: str
) -> None:
    execution = await run(api, session, CHART)
    pictures = [o["data"]["image/png"] for o in execution["outputs"] if "data" in o]
    assert len(pictures) == 1
    assert Image.open(io.BytesIO(base64.b64decode(pictures[0]))).format == "PNG"


async def test_the_end_of_a_long_output_is_seen(api: httpx.AsyncClient, session: str) -> None:
    """A crowd of lines on both streams, then a flood: the chart, the last line and the value are there."""
    lines = "import sys\nfor i in range(1001): print(i); print(i, file=sys.stderr)\n"
    crowd = await run(api, session, f"{lines}{CHART}\nprint('last line')\n42")
    flood = f"for i in range(100): print('x' * 100_000)\n{CHART}\nprint('last line')\n42"
    for execution in (crowd, await run(api, session, flood)):
        *_, picture, last, value = execution["outputs"]
        assert "image/png" in picture["data"]
        assert last["text"] == "last line\n"
        assert value["data"]["text/plain"] == "42"
    assert not crowd["truncated"]
    for name in ("stdout", "stderr"):
        texts = [o["text"] for o in crowd["outputs"] if o.get("name") == name]
        assert "".join(texts).startswith("".join(f"{i}\n" for i in range(1001)))
    assert execution["truncated"]


async def test_of_a_live_plot_the_last_frame_stays(api: httpx.AsyncClient, session: str) -> None:
    """Frames are cleared or replaced; those that are gone take no room."""
    frame = "{'text/plain': 'frame %d' % i, 'image/png': 'A' * 100_000}"
    live = "from IPython.display import clear_output\nshown = display('', display_id=True)\n"
    cleared = f"for i in range(300): clear_output(wait=True); display({frame}, raw=True)"
    replaced = f"for i in range(300): shown.update({frame}, raw=True)"
    for code in (cleared, replaced):
        execution = await run(api, session, live + code)
        assert [o["data"]["text/plain"] for o in execution["outputs"]] == ["frame 299"]
        assert not execution["truncated"]


async def test_an_uploaded_table_is_read_and_an_excel_file_comes_back(
    api: httpx.AsyncClient, session: str
) -> None:
    await api.put(f"{session}/files/in/temp%20data.csv", content=b"city,t\nOslo,3\nRome,21\n")
    code = (
        "import pandas as pd\n"
        "frame = pd.read_csv('in/temp data.csv')\n"
        "frame.to_excel('out.xlsx', index=False)\n"
        "frame.t.max()"
    )
    execution = await run(api, session, code)
    assert execution["outputs"][0]["data"]["text/plain"].find("21") >= 0
    assert [artifact["path"] for artifact in execution["artifacts"]] == ["out.xlsx"]
    content = (await api.get(f"{session}/files/out.xlsx")).content
    sheet = openpyxl.load_workbook(io.BytesIO(content)).active
    assert [cell.value for cell in sheet[2]] == ["Oslo", 3]


async def test_an_artifacts_link_works_without_a_key_after_the_session_is_closed(
    api: httpx.AsyncClient, session: str
) -> None:
    execution = await run(api, session, "open('a.txt', 'w').write('kept')")
    url = execution["artifacts"][0]["url"]
    assert (await api.delete(session)).json()["status"] == "closed"
    async with httpx.AsyncClient() as stranger:
        assert (await stranger.get(url)).text == "kept"
    assert (await api.get(f"{session}/files/a.txt")).status_code == 410


async def events(answer: httpx.Response) -> AsyncIterator[dict[str, Any]]:
    """The events of a stream, as they come."""
    fields: dict[str, str] = {}
    async for line in answer.aiter_lines():
        if line:
            name, _, value = line.partition(": ")
            fields[name] = value
        elif "event" in fields:
            yield {**fields, "data": json.loads(fields["data"])}
            fields = {}


async def test_output_is_seen_line_by_line_while_the_cell_runs(
    api: httpx.AsyncClient, session: str
) -> None:
    """Each line is printed only after the one before was seen: none could have waited for the end."""
    code = (
        "import os, time\n"
        "for n in range(5):\n"
        "    print('line', n, flush=True)\n"
        "    while not os.path.exists(f'seen-{n}'):\n"
        "        time.sleep(0.01)\n"
    )
    body = {"code": code, "stream": True, "timeout_s": 60}
    seen, text = 0, ""
    async with api.stream("POST", f"{session}/executions", json=body) as answer:
        async for event in events(answer):
            text += event["data"].get("output", {}).get("text", "")
            if f"line {seen}\n" in text:
                await api.put(f"{session}/files/seen-{seen}", content=b"")
                seen += 1
    assert seen == 5
    assert event["data"]["execution"]["status"] == "ok"


async def test_a_reader_that_hangs_up_comes_back_for_the_rest(
    api: httpx.AsyncClient, session: str
) -> None:
    code = (
        "import os, time\n"
        "print('first', flush=True)\n"
        "while not os.path.exists('go'):\n"
        "    time.sleep(0.01)\n"
        "print('second')\n"
    )
    async with api.stream(
        "POST", f"{session}/executions", json={"code": code, "stream": True}
    ) as answer:
        async for event in events(answer):
            if event["event"] == "execution.started":
                execution_id = event["data"]["execution"]["id"]
            if event["event"] == "output":
                break
    await api.put(f"{session}/files/go", content=b"")
    url = f"{session}/executions/{execution_id}/events"
    async with api.stream("GET", url, headers={"Last-Event-ID": event["id"]}) as answer:
        rest = [later async for later in events(answer)]
    assert [int(later["id"]) for later in rest] == [
        int(event["id"]) + 1 + number for number in range(len(rest))
    ]
    assert text_of(rest[-1]["data"]["execution"]) == "first\nsecond\n"


async def test_the_notebook_of_a_session_is_valid(api: httpx.AsyncClient, session: str) -> None:
    await run(api, session, "1 + 1")
    await run(api, session, "1 / 0")
    notebook = nbformat.reads((await api.get(f"{session}/notebook")).text, as_version=4)
    nbformat.validate(notebook)
    assert [cell.source for cell in notebook.cells if cell.cell_type == "code"] == [
        "1 + 1",
        "1 / 0",
    ]


async def test_one_call_runs_and_leaves_nothing_open(api: httpx.AsyncClient) -> None:
    body = {"code": "print(6 * 7)", "close_session": True}
    both = (await api.post("/v1/executions", json=body)).json()
    assert text_of(both["execution"]) == "42\n"
    assert both["session"]["status"] == "closed"


async def test_a_restart_forgets_variables_keeps_files_and_says_so(
    api: httpx.AsyncClient, session: str
) -> None:
    await run(api, session, "x = 1; open('f', 'w').close()")
    restarted = (await api.post(f"{session}/restart")).json()
    assert restarted["kernel"]["epoch"] == 2
    after = await run(api, session, "import os; print('x' in globals(), os.path.exists('f'))")
    assert text_of(after) == "False True\n"
    assert after["kernel"] == {"epoch": 2, "state": "reset"}


async def test_activity_postpones_expiry(api: httpx.AsyncClient, session: str) -> None:
    before = (await api.get(session)).json()["expires_at"]
    execution = await run(api, session, "1")
    assert datetime.fromisoformat(execution["session_expires_at"]) > datetime.fromisoformat(before)


async def test_another_tenant_sees_nothing(
    service: ServiceProcess, api: httpx.AsyncClient, session: str
) -> None:
    execution = await run(api, session, "open('a', 'w').write('1')")
    artifact_id = execution["artifacts"][0]["id"]
    async with service.client(service.other_key) as stranger:
        for url in [
            session,
            f"{session}/files",
            f"{session}/executions/{execution['id']}/events",
            f"/v1/artifacts/{artifact_id}/content",
        ]:
            assert (await stranger.get(url)).status_code == 404
        assert (await stranger.get("/v1/sessions")).json()["data"] == []
