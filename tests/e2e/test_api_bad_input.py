"""Bad input over HTTP: each with a clear answer, and the session works afterwards."""

import asyncio
import http.client
import io
import tarfile
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from tests.support.service import ServiceProcess

MIB = 1024 * 1024


@pytest.fixture
async def session(api: httpx.AsyncClient) -> AsyncIterator[str]:
    """The URL of a fresh session with `x = 41` in it, closed afterwards."""
    answer = await api.post("/v1/sessions", json={"limits": {"workspace_bytes": 16 * MIB}})
    assert answer.status_code == 201, answer.text
    url = f"/v1/sessions/{answer.json()['id']}"
    await run(api, url, "x = 41")
    yield url
    await api.delete(url)


async def run(api: httpx.AsyncClient, session: str, code: str, **body: object) -> dict[str, Any]:
    answer = await api.post(f"{session}/executions", json={"code": code, **body})
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def still_has_its_state(api: httpx.AsyncClient, session: str) -> bool:
    execution = await run(api, session, "print(x + 1)")
    return text_of(execution) == "42\n" and execution["kernel"]["state"] == "kept"


def text_of(execution: dict[str, Any]) -> str:
    return "".join(output.get("text", "") for output in execution["outputs"])


BAD_BODIES = [
    (b'{"code": ', 400, None),
    (b'{"code": "\xff"}', 400, None),
    (b'{"code": "1", "colour": "red"}', 400, "colour"),
    (b'{"code": "1", "timeout_s": NaN}', 400, "timeout_s"),
    (b'{"code": "1", "timeout_s": 1e9}', 400, "timeout_s"),
    (b'{"code": "%s"}' % (b"1" * (MIB + 1)), 413, "code"),
    (b'{"code": "%s"}' % (b"1" * (4 * MIB)), 413, "body"),
]


@pytest.mark.parametrize(("body", "status", "param"), BAD_BODIES)
async def test_a_bad_body_is_refused_by_its_field(
    api: httpx.AsyncClient, session: str, body: bytes, status: int, param: str | None
) -> None:
    answer = await api.post(f"{session}/executions", content=body)
    assert (answer.status_code, answer.json()["error"]["param"]) == (status, param)
    assert await still_has_its_state(api, session)


@pytest.mark.parametrize("path", ["%2e%2e/x", "a/%2e%2e/%2e%2e/x", "%2Fetc/passwd", "nul%00"])
async def test_a_path_out_of_the_workspace_is_refused(
    api: httpx.AsyncClient, session: str, path: str
) -> None:
    for method in ("GET", "PUT", "DELETE"):
        answer = await api.request(method, f"{session}/files/{path}")
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, "path")


async def test_dots_that_no_client_normalised_are_refused_too(
    service: ServiceProcess, session: str
) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=10)
    headers = {"Authorization": f"Bearer {service.key}"}
    connection.request("GET", f"{session}/files/../../../etc/passwd", headers=headers)
    assert connection.getresponse().status == 400
    connection.close()


async def test_an_unknown_session_is_not_found(api: httpx.AsyncClient) -> None:
    answer = await api.post("/v1/sessions/sess_unknown/executions", json={"code": "1"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")


async def test_an_expired_session_is_gone_and_says_why(
    api: httpx.AsyncClient, session: str
) -> None:
    assert (await api.patch(session, json={"idle_ttl_s": 1})).status_code == 200
    async with asyncio.timeout(30):
        while (await api.get(session)).json()["status"] == "ready":
            await asyncio.sleep(0.1)
    answer = await api.post(f"{session}/executions", json={"code": "1"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (410, "session_expired")


async def test_a_file_over_the_limit_is_refused_before_it_is_sent(
    service: ServiceProcess, session: str
) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=10)
    connection.putrequest("PUT", f"{session}/files/big")
    connection.putheader("Authorization", f"Bearer {service.key}")
    connection.putheader("Content-Length", str(1 << 40))
    connection.endheaders()
    answer = connection.getresponse()
    assert answer.status == 413
    assert b"limit of" in answer.read()
    connection.close()


async def test_a_full_workspace_is_said_and_keeps_what_it_has(
    api: httpx.AsyncClient, session: str
) -> None:
    await api.put(f"{session}/files/kept", content=b"kept")
    answer = await api.put(f"{session}/files/big", content=bytes(17 * MIB))
    assert (answer.status_code, answer.json()["error"]["code"]) == (507, "workspace_full")
    assert (await api.get(f"{session}/files/kept")).content == b"kept"
    assert (await api.get(f"{session}/files/big")).status_code == 404
    assert await still_has_its_state(api, session)


async def test_an_archive_with_climbing_names_is_stored_as_data(
    api: httpx.AsyncClient, session: str
) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("../../evil"), io.BytesIO())
    await api.put(f"{session}/files/evil.tar", content=buffer.getvalue())
    assert (await api.get(f"{session}/files/evil.tar")).content == buffer.getvalue()
    listed = (await api.get(f"{session}/files")).json()["data"]
    assert [entry["path"] for entry in listed] == ["evil.tar"]


async def test_files_with_names_that_are_not_text_are_listed_and_fetched(
    api: httpx.AsyncClient, session: str
) -> None:
    execution = await run(api, session, r"open(b'\xff\n.bin', 'wb').write(b'1')")
    assert execution["artifacts"][0]["size"] == 1
    listed = (await api.get(f"{session}/files")).json()["data"]
    assert listed[0]["url"].endswith("/files/%FF%0A.bin")
    assert (await api.get(listed[0]["url"])).content == b"1"
    with tarfile.open(fileobj=io.BytesIO((await api.get(f"{session}/archive")).content)) as tar:
        assert len([member for member in tar.getmembers() if member.isfile()]) == 1


OUTCOMES = [
    ("def f(:", {}, "error", True),
    ("while True: pass", {"timeout_s": 1}, "timeout", True),
    ("input()", {}, "error", True),
    ("import os; os._exit(1)", {}, "kernel_died", False),
    ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", {}, "kernel_died", False),
    ("b = bytearray(4 * 1024**3)\nfor i in range(0, len(b), 4096): b[i] = 1", {}, None, False),
]


@pytest.mark.parametrize(("code", "body", "status", "keeps_state"), OUTCOMES)
async def test_what_the_cell_does_to_itself_is_an_outcome_and_the_next_cell_runs(
    api: httpx.AsyncClient,
    session: str,
    code: str,
    body: dict[str, object],
    status: str | None,
    keeps_state: bool,
) -> None:
    execution = await run(api, session, code, **body)
    assert execution["status"] == (status or "out_of_memory")
    after = await run(api, session, "print(1)")
    assert text_of(after) == "1\n"
    assert after["kernel"]["state"] == ("kept" if keeps_state else "reset")


FLOODS = [
    "for _ in range(100): print('x' * 1_000_000)",
    "from IPython.display import display\nfor n in range(10_000): display(n)",
    "from IPython.display import Image\nImage(data=bytes(200 * 1024**2), format='png')",
]


@pytest.mark.parametrize("code", FLOODS)
async def test_a_flood_is_cut_and_said_to_be_cut(
    api: httpx.AsyncClient, session: str, code: str
) -> None:
    execution = await run(api, session, code)
    assert execution["status"] == "ok"
    assert len(str(execution["outputs"])) < 32 * MIB
    if "10_000" not in code:
        assert execution["truncated"] is True
        assert "Output was cut" in execution["notices"][0]
    assert await still_has_its_state(api, session)


async def test_bytes_that_are_no_text_and_numbers_that_are_no_json_come_through(
    api: httpx.AsyncClient, session: str
) -> None:
    await run(api, session, r"import sys; sys.stdout.buffer.write(b'\xff\xfe'); print('\ud800')")
    code = (
        "from IPython.display import display\n"
        "display({'application/json': {'n': float('nan')}}, raw=True)"
    )
    assert (await run(api, session, code))["status"] == "ok"
    assert await still_has_its_state(api, session)


async def test_a_client_that_hangs_up_in_mid_stream_loses_nothing(
    api: httpx.AsyncClient, session: str
) -> None:
    body = {"code": "print('on the way', flush=True)\ny = 1", "stream": True}
    async with api.stream("POST", f"{session}/executions", json=body) as answer:
        async for _ in answer.aiter_lines():
            break
    assert text_of(await run(api, session, "print(y)")) == "1\n"
    listed = (await api.get(f"{session}/executions")).json()["data"]
    assert [item["status"] for item in listed] == ["ok"] * 3


async def test_a_client_that_asked_for_it_stops_its_cell_by_hanging_up(
    api: httpx.AsyncClient, session: str
) -> None:
    code = "import time\nprint('begun', flush=True)\ntime.sleep(60)"
    body = {"code": code, "stream": True, "cancel_on_disconnect": True}
    async with api.stream("POST", f"{session}/executions", json=body) as answer:
        async for line in answer.aiter_lines():
            if "begun" in line:
                break
    assert await still_has_its_state(api, session)
    listed = (await api.get(f"{session}/executions")).json()["data"]
    assert [item["status"] for item in listed] == ["ok", "interrupted", "ok"]
