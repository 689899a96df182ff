"""Sessions over HTTP on the real engine: state, order, limits, expiry, and what is left at the end."""

import asyncio
import itertools
import time

import httpx
import pytest

from tests.conftest import containers_of

pytestmark = pytest.mark.docker

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


async def test_executions_of_one_session_run_in_order(api, session):
    await execute(api, session, "seen = []")
    cells = [f"import time; time.sleep(0.02); seen.append({n})" for n in range(8)]
    tasks = []
    for cell in cells:
        tasks.append(asyncio.create_task(execute(api, session, cell)))
        await asyncio.sleep(0.01)
    await asyncio.gather(*tasks)
    assert text_of(await execute(api, session, "seen")) == str(list(range(8)))


async def test_sessions_run_at_the_same_time(api):
    sessions = await asyncio.gather(*(open_session(api) for _ in range(2)))
    meeting = "import time; start = time.time(); time.sleep(1); print(start, time.time())"
    runs = await asyncio.gather(*(execute(api, opened, meeting) for opened in sessions))
    spans = [tuple(map(float, text_of(run).split())) for run in runs]
    assert max(start for start, _ in spans) < min(end for _, end in spans)
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
    running = asyncio.create_task(execute(api, session, "x = 5\nimport time; time.sleep(60)"))
    await asyncio.sleep(0.5)
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
    session = await open_session(api, idle_ttl_s=1)
    before = len(containers_of(engine, service.instance))
    deadline = time.monotonic() + 20
    while len(containers_of(engine, service.instance)) >= before:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.1)
    url = f"/v1/sessions/{session['id']}"
    late = await api.post(f"{url}/executions", json={"code": "1"})
    assert (late.status_code, late.json()["error"]["code"]) == (410, "session_expired")
    assert (await api.get(url)).json()["status"] == "expired"


async def test_activity_postpones_expiry(api):
    session = await open_session(api, idle_ttl_s=2)
    for _ in range(5):
        await asyncio.sleep(0.7)
        assert (await execute(api, session, "1"))["status"] == "ok"
    await api.delete(f"/v1/sessions/{session['id']}")


async def test_a_running_cell_is_activity(api):
    session = await open_session(api, idle_ttl_s=1)
    run = await execute(api, session, "import time; time.sleep(3); print('done')")
    assert text_of(run) == "done\n"
    await api.delete(f"/v1/sessions/{session['id']}")


async def test_a_maximum_age_ends_even_a_busy_session(api):
    session = await open_session(api, max_age_s=5)
    run = await execute(api, session, "import time; time.sleep(30)")
    assert run["status"] == "interrupted"
    assert (await api.get(f"/v1/sessions/{session['id']}")).json()["status"] == "expired"


async def test_lines_are_seen_as_they_are_printed(api, session):
    body = {
        "code": "import time\nfor i in range(3):\n    print(i)\n    time.sleep(1)",
        "stream": True,
    }
    seen_at = []
    url = f"/v1/sessions/{session['id']}/executions"
    async with api.stream("POST", url, json=body) as answer:
        event = ""
        async for line in answer.aiter_lines():
            event = line.removeprefix("event: ") if line.startswith("event:") else event
            if line.startswith("data:") and event == "output":
                seen_at.append(time.monotonic())
    assert len(seen_at) == 3
    assert min(b - a for a, b in itertools.pairwise(seen_at)) > 0.5


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
