"""Sessions over HTTP on the real engine: state, order, limits, expiry, and what is left at the end."""

import asyncio
from datetime import datetime

import httpx
import pytest

from tests.conftest import containers_of

pytestmark = pytest.mark.docker

WAITS_FOR = "import os, time\nwhile not os.path.exists({!r}): time.sleep(0.01)\n"
IGNORES_INTERRUPTS = """
import time
while True:
    try:
        time.sleep(60)
    except KeyboardInterrupt:
        pass
"""


async def open_session(api: httpx.AsyncClient, **body: object) -> dict:
    answer = await api.post("/v1/sessions", json=body)
    assert answer.status_code == 201, answer.text
    return answer.json()


async def execute(api: httpx.AsyncClient, session: dict, code: str, **body: object) -> dict:
    url = f"/v1/sessions/{session['id']}/executions"
    answer = await api.post(url, json={"code": code, **body})
    assert answer.status_code == 200, answer.text
    return answer.json()


def text_of(execution: dict) -> str:
    nodes = execution["outputs"]
    streams = [node["text"] for node in nodes if node["output_type"] == "stream"]
    results = [node["data"]["text/plain"] for node in nodes if "data" in node]
    return "".join(streams + results)


async def put(api: httpx.AsyncClient, session: dict, name: str) -> None:
    """A file that a cell waits for."""
    answer = await api.put(f"/v1/sessions/{session['id']}/files/{name}", content=b"")
    assert answer.is_success, answer.text


async def made(api: httpx.AsyncClient, session: dict, name: str) -> None:
    """Returns once a cell has made the file."""
    async with asyncio.timeout(60):
        while (await api.get(f"/v1/sessions/{session['id']}/files/{name}")).status_code != 200:
            await asyncio.sleep(0.02)


async def accepted(api: httpx.AsyncClient, session: dict, count: int) -> None:
    """Returns once the session knows of so many executions."""
    async with asyncio.timeout(60):
        while (
            len((await api.get(f"/v1/sessions/{session['id']}/executions")).json()["data"]) < count
        ):
            await asyncio.sleep(0.02)


@pytest.fixture
async def session(api):
    opened = await open_session(api)
    yield opened
    await api.delete(f"/v1/sessions/{opened['id']}")


async def test_variables_stay_between_executions(api, session):
    await execute(api, session, "x = 41")
    second = await execute(api, session, "x + 1")
    assert text_of(second) == "42"
    assert second["execution_count"] == 2
    assert second["kernel"] == {"epoch": 1, "state": "kept"}


async def test_executions_of_one_session_run_in_the_order_of_their_acceptance(api, session):
    await execute(api, session, "seen = []")
    cells = [WAITS_FOR.format("go"), *(f"seen.append({n})" for n in range(8))]
    tasks = []
    for number, cell in enumerate(cells):
        tasks.append(asyncio.create_task(execute(api, session, cell)))
        await accepted(api, session, number + 2)
    await put(api, session, "go")
    await asyncio.gather(*tasks)
    assert text_of(await execute(api, session, "seen")) == str(list(range(8)))


async def test_sessions_run_at_the_same_time(api):
    """Both have begun before either may end."""
    sessions = await asyncio.gather(*(open_session(api) for _ in range(2)))
    meeting = "open('begun', 'w').close()\n" + WAITS_FOR.format("go")
    runs = [asyncio.create_task(execute(api, opened, meeting)) for opened in sessions]
    await asyncio.gather(*(made(api, opened, "begun") for opened in sessions))
    await asyncio.gather(*(put(api, opened, "go") for opened in sessions))
    assert [run["status"] for run in await asyncio.gather(*runs)] == ["ok", "ok"]
    await asyncio.gather(*(api.delete(f"/v1/sessions/{opened['id']}") for opened in sessions))


async def test_a_timeout_interrupts_and_keeps_the_state(api, session):
    await execute(api, session, "x = 1")
    slow = await execute(api, session, "import time; time.sleep(60)", timeout_s=0.5)
    assert slow["status"] == "timeout"
    assert slow["kernel"]["state"] == "kept"
    assert text_of(await execute(api, session, "x")) == "1"


async def test_code_that_ignores_interrupts_is_killed_and_told_so(api, session):
    stuck = await execute(api, session, IGNORES_INTERRUPTS, timeout_s=0.5)
    assert stuck["status"] == "timeout"
    assert stuck["kernel"] == {"epoch": 2, "state": "reset"}
    assert len(stuck["notices"]) == 4
    assert (await execute(api, session, "1"))["kernel"]["state"] == "reset"
    assert (await execute(api, session, "1"))["kernel"]["state"] == "kept"


async def test_an_interrupt_ends_the_cell_and_the_next_one_answers(api, session):
    code = "x = 5; open('begun', 'w').close()\nimport time; time.sleep(60)"
    running = asyncio.create_task(execute(api, session, code))
    await made(api, session, "begun")
    answer = await api.post(f"/v1/sessions/{session['id']}/interrupt")
    assert answer.status_code == 200
    assert (await running)["status"] == "interrupted"
    assert text_of(await execute(api, session, "x")) == "5"


async def test_a_restart_raises_the_epoch_and_keeps_the_files(api, session):
    await execute(api, session, "x = 1; open('kept.txt', 'w').write('here')")
    restarted = (await api.post(f"/v1/sessions/{session['id']}/restart")).json()
    assert restarted["kernel"]["epoch"] == 2
    after = await execute(api, session, "print(open('kept.txt').read(), 'x' in globals())")
    assert text_of(after) == "here False\n"
    assert after["kernel"] == {"epoch": 2, "state": "reset"}


@pytest.mark.parametrize(
    "code",
    ["import os; os._exit(1)", "import os; os.kill(os.getpid(), 9)"],
    ids=["os._exit", "kill -9"],
)
async def test_a_kernel_that_dies_is_replaced_and_said_so(api, session, code):
    died = await execute(api, session, code)
    assert died["status"] == "kernel_died"
    assert died["kernel"]["state"] == "reset"
    after = await execute(api, session, "1 + 1")
    assert text_of(after) == "2"
    assert after["kernel"]["state"] == "reset"


async def test_memory_over_the_limit_is_out_of_memory_and_the_session_lives(api):
    session = await open_session(api, limits={"memory_bytes": 400 * 2**20})
    full = await execute(api, session, "hoard = bytearray(900 * 2**20)")
    assert full["status"] == "out_of_memory"
    after = await execute(api, session, "1 + 1")
    assert (after["status"], after["kernel"]["state"]) == ("ok", "reset")
    await api.delete(f"/v1/sessions/{session['id']}")


async def test_a_session_left_alone_is_gone_with_its_container(api, engine, service):
    before = set(containers_of(engine, service.instance))
    session = await open_session(api, idle_ttl_s=1)
    url = f"/v1/sessions/{session['id']}"
    async with asyncio.timeout(60):
        while (await api.get(url)).json()["status"] != "expired":
            await asyncio.sleep(0.1)
        while not set(containers_of(engine, service.instance)) <= before:
            await asyncio.sleep(0.1)
    late = await api.post(f"{url}/executions", json={"code": "1"})
    assert (late.status_code, late.json()["error"]["code"]) == (410, "session_expired")


async def test_activity_postpones_expiry(api, session):
    told = [session["expires_at"]]
    for _ in range(3):
        told.append((await execute(api, session, "1"))["session_expires_at"])
    ends = [datetime.fromisoformat(at) for at in told]
    assert ends == sorted(set(ends))


async def test_a_running_cell_is_activity(api):
    session = await open_session(api, idle_ttl_s=4)
    run = await execute(api, session, "import time; time.sleep(6); print('done')")
    assert text_of(run) == "done\n"
    await api.delete(f"/v1/sessions/{session['id']}")


async def test_a_maximum_age_ends_even_a_busy_session(api):
    session = await open_session(api, max_age_s=5)
    run = await execute(api, session, "import time; time.sleep(30)")
    assert run["status"] == "interrupted"
    assert (await api.get(f"/v1/sessions/{session['id']}")).json()["status"] == "expired"


async def test_an_artifact_outlives_its_session(api, session):
    made = await execute(api, session, "open('out.csv', 'w').write('a,b\\n1,2\\n')")
    (artifact,) = made["artifacts"]
    await api.delete(f"/v1/sessions/{session['id']}")
    async with httpx.AsyncClient() as anyone:
        answer = await anyone.get(artifact["url"])
    assert (answer.status_code, answer.text) == (200, "a,b\n1,2\n")


async def test_one_call_opens_runs_and_closes(api):
    body = {"code": "print(6 * 7)", "close_session": True}
    answer = (await api.post("/v1/executions", json=body)).json()
    assert text_of(answer["execution"]) == "42\n"
    closed = await api.get(f"/v1/sessions/{answer['session']['id']}")
    assert closed.json()["status"] == "closed"
