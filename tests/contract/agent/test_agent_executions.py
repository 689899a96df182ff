"""Executions: the lines of a cell, in order, once, and to the end."""

import asyncio
import base64
import json
from uuid import uuid4

import pytest

from tests.contract.agent.agent_process import AgentProcess


async def test_state_is_kept_between_cells(agent: AgentProcess) -> None:
    """What a cell defines is there for the next one."""
    await agent.run("kept = 41")
    result = await agent.run("kept + 1")
    assert result.contents("execute_result")[0]["data"]["text/plain"] == "42"


async def test_lines_are_numbered_from_one_without_a_hole(agent: AgentProcess) -> None:
    """Every line has the next seq, and the last one is the end."""
    result = await agent.run("for n in range(50): display(n)")
    assert [line["seq"] for line in result.lines] == list(range(1, len(result.lines) + 1))
    assert result.end["reason"] == "finished"


async def test_reply_and_idle_are_both_passed_on(agent: AgentProcess) -> None:
    """The shell's reply and the idle status come before the end."""
    result = await agent.run("1")
    channels = {
        (line["channel"], line["header"]["msg_type"]) for line in result.lines if "channel" in line
    }
    assert {("shell", "execute_reply"), ("iopub", "status"), ("iopub", "execute_input")} <= channels
    assert [status["execution_state"] for status in result.contents("status")] == ["busy", "idle"]


async def test_the_first_cell_of_a_kernel_is_number_one(agent: AgentProcess) -> None:
    """Warming leaves no trace: the count starts at one and no name is left over."""
    await agent.restart()
    result = await agent.run("sorted(n for n in globals() if not n.startswith('_'))")
    assert result.contents("execute_input")[0]["execution_count"] == 1
    names = result.contents("execute_result")[0]["data"]["text/plain"]
    assert names == "['In', 'Out', 'exit', 'get_ipython', 'open', 'quit']"


async def test_output_is_seen_while_the_cell_runs(agent: AgentProcess) -> None:
    """A line that was printed arrives before the cell goes on."""
    flag = agent.workspace / "go-on"
    code = f"""
import os, time
print("first")
while not os.path.exists({str(flag)!r}): time.sleep(0.01)
print("second")
"""
    texts = []
    async for line in agent.lines(code):
        if line.get("header", {}).get("msg_type") == "stream":
            texts.append(line["content"]["text"])
            flag.touch()
    assert texts == ["first\n", "second\n"]
    flag.unlink()


async def test_a_shown_figure_is_a_png(agent: AgentProcess) -> None:
    """`plt.show()` draws, without a savefig."""
    result = await agent.run(
        "import matplotlib.pyplot as plt\nplt.plot([1, 2, 3])\nplt.title('t')\nplt.show()"
    )
    picture = base64.b64decode(result.contents("display_data")[0]["data"]["image/png"])
    assert picture.startswith(b"\x89PNG")


async def test_an_open_figure_is_shown_at_the_end_of_the_cell(agent: AgentProcess) -> None:
    """As in a notebook, a figure needs no show; it is drawn once and then closed."""
    await agent.restart()
    result = await agent.run("import matplotlib.pyplot as plt\nfigure = plt.figure()")
    assert len(result.contents("display_data")) == 1
    assert (await agent.run("plt.get_fignums()")).contents("execute_result")[0]["data"] == {
        "text/plain": "[]"
    }


async def test_an_error_is_data(agent: AgentProcess) -> None:
    """The traceback names the cell's line; the kernel is idle afterwards."""
    result = await agent.run("x = 1\nx / 0")
    assert result.error == "ZeroDivisionError"
    assert result.status == "error"
    assert (await agent.run("x")).status == "ok"


async def test_cells_posted_at_once_run_one_after_the_other(agent: AgentProcess) -> None:
    """Each execution gets its own lines, also behind one that failed."""
    codes = ["import time; time.sleep(0.2); print('a')", "1 / 0", "print('c')"]
    results = await asyncio.gather(*map(agent.run, codes))
    assert [result.text for result in results] == ["a\n", "", "c\n"]
    assert [result.status for result in results] == ["ok", "error", "ok"]


async def test_the_same_id_is_the_same_execution(agent: AgentProcess) -> None:
    """Posting an id again starts nothing and gives the same lines."""
    await agent.run("count = 0")
    first = await agent.run("count += 1; print(count)", execution_id="twice")
    second = await agent.run("count += 1; print(count)", execution_id="twice")
    assert first.lines == second.lines
    assert (await agent.run("print(count)")).text == "1\n"


async def test_the_same_id_posted_many_times_at_once_starts_once(agent: AgentProcess) -> None:
    """Every reader of an execution gets all of its lines."""
    await agent.run("starts = 0")
    code = "import time; starts += 1; time.sleep(0.1); print(starts)"
    results = await asyncio.gather(*(agent.run(code, execution_id="many") for _ in range(10)))
    assert {json.dumps(result.lines) for result in results} == {json.dumps(results[0].lines)}
    assert results[0].text == "1\n"


async def test_a_reader_comes_back_for_the_rest(agent: AgentProcess) -> None:
    """Lines after a seq are the same lines; a reader that leaves changes nothing."""
    code = "import time\nfor n in range(5): print(n, flush=True); time.sleep(0.05)"
    seen = []
    async for line in agent.lines(code, execution_id="resumed"):
        seen.append(line)
        if len(seen) == 3:
            break
    rest = await agent.resume("resumed", seen[-1]["seq"])
    whole = await agent.resume("resumed", 0)
    assert seen + rest.lines == whole.lines
    assert whole.text == "0\n1\n2\n3\n4\n"


async def test_an_unknown_execution_is_not_found(agent: AgentProcess) -> None:
    """There is nothing to resume."""
    status, body = await agent.call("GET", "executions/never-seen?after=0")
    assert (status, json.loads(body)["error"]["code"]) == (404, "not_found")


async def test_of_what_is_over_budget_the_middle_is_counted(agent: AgentProcess) -> None:
    """The beginning comes at once, then the number of those left out, the last ones and the error."""
    code = "for n in range(100): display(n)\nprint('last')\n1 / 0"
    result = await agent.run(code, output_bytes=10_000)
    (budget,) = result.gaps
    assert budget["reason"] == "budget"
    shown = [int(content["data"]["text/plain"]) for content in result.contents("display_data")]
    assert len(shown) + budget["messages"] == 100
    assert shown[0] == 0
    assert shown[-1] == 99
    assert result.text == "last\n"
    assert result.error == "ZeroDivisionError"
    kinds = [line.get("header", {}).get("msg_type", "gap") for line in result.lines[:-1]]
    assert kinds.index("gap") < kinds.index("stream") < kinds.index("error")
    assert "display_data" in kinds[: kinds.index("gap")]
    assert "display_data" in kinds[kinds.index("gap") :]


FRAMES = {
    "cleared": "clear_output(wait=True); display(str(n) * 1000)",
    "cleared at once": "clear_output(); display(str(n) * 1000)",
    "replaced": "handle.update(str(n) * 1000)",
}


@pytest.mark.parametrize("frame", FRAMES.values(), ids=FRAMES)
@pytest.mark.parametrize("frames", [20, 200])
async def test_the_last_frame_is_seen(agent: AgentProcess, frame: str, frames: int) -> None:
    """What was cleared or replaced costs nothing; past what a reader must bear only the last comes."""
    code = (
        "from IPython.display import clear_output\nhandle = display('', display_id=True)\n"
        f"for n in range(100, {100 + frames}): {frame}\nprint('end')"
    )
    result = await agent.run(code, output_bytes=20_000)
    shown = result.contents("display_data") + result.contents("update_display_data")
    assert str(99 + frames) * 1000 in shown[-1]["data"]["text/plain"]
    assert result.text == "end\n"
    assert len(shown) >= 20
    if frames == 20:
        assert not result.gaps
    else:
        assert len(shown) < frames


@pytest.mark.parametrize("frame", FRAMES.values(), ids=FRAMES)
async def test_who_comes_late_gets_a_live_plot_in_as_many_steps(
    agent: AgentProcess, frame: str
) -> None:
    """Frames that are gone are kept small: no line is missing, and no more is kept than may be shown."""
    code = (
        "from IPython.display import clear_output\nhandle = display('', display_id=True)\n"
        f"print('kept')\nfor n in range(100, 140): {frame.replace('1000', '50_000')}"
    )
    name = uuid4().hex
    live = await agent.run(code, execution_id=name, output_bytes=1_000_000)
    late = await agent.resume(name, 0)
    assert [line["seq"] for line in late.lines] == list(range(1, live.end["seq"] + 1))
    assert not late.gaps
    shown = late.contents("display_data") + late.contents("update_display_data")
    assert "139" * 50_000 in shown[-1]["data"]["text/plain"]
    assert sum(len(json.dumps(line)) for line in late.lines) < 1_000_000 + 1024 * 1024


async def test_pictures_and_the_last_words_both_have_room(agent: AgentProcess) -> None:
    """A flood of text leaves the pictures behind it, and many pictures leave the last text."""
    code = (
        "for n in range(100): display('early'); print('x' * 1000, flush=True)\n"
        "for n in range(4): display({'text/plain': 'p' * 500}, raw=True)\n"
        "for n in range(100): print('y' * 1000, flush=True)\nprint('last words')"
    )
    result = await agent.run(code, output_bytes=40_000)
    shown = [content["data"]["text/plain"] for content in result.contents("display_data")]
    assert shown.count("p" * 500) == 4
    assert result.text.endswith("last words\n")


async def test_a_message_over_the_budget_is_a_gap_at_once(agent: AgentProcess) -> None:
    """One huge message is named by its type and size, and the cell goes on."""
    code = "display({'text/plain': 'x' * 1_000_000}, raw=True)\nprint('small')"
    result = await agent.run(code, output_bytes=100_000)
    assert [gap["reason"] for gap in result.gaps] == ["message_too_large"]
    assert result.text == "small\n"
    assert result.gaps[0]["msg_type"] == "display_data"
    assert result.gaps[0]["bytes"] > 1_000_000
    assert result.status == "ok"


async def test_of_the_latest_execution_no_line_is_lost(agent: AgentProcess) -> None:
    """Whatever it may show is kept for who comes late, up to the largest budget there is."""
    code = "for n in range(24): display({'text/plain': 'x' * 1_000_000}, raw=True)"
    whole = await agent.run(code, execution_id="flood", output_bytes=64 * 1024 * 1024)
    late = await agent.resume("flood", 0)
    assert late.gaps == []
    assert late.lines == whole.lines


async def test_lines_that_left_the_ring_are_a_gap(agent: AgentProcess) -> None:
    """Who comes back for an earlier execution is told how much is missing, and gets the rest."""
    code = "for n in range(4): display({'text/plain': 'x' * 1_000_000}, raw=True)"
    await agent.run(code, execution_id="earlier", output_bytes=64 * 1024 * 1024)
    await agent.run("pass", output_bytes=2 * 1024 * 1024)
    late = await agent.resume("earlier", 0)
    (gap,) = late.gaps
    assert gap["reason"] == "ring"
    assert gap["messages"] == gap["seq"]
    assert late.lines[1]["seq"] == gap["seq"] + 1
    assert len(late.contents("display_data")) == 2
    assert late.end["reason"] == "finished"


async def test_an_execution_that_was_pushed_out_keeps_its_name(agent: AgentProcess) -> None:
    """Of an old execution only the end is left, and its code still does not start again."""
    await agent.run("runs = 0")
    first = await agent.run("runs += 1", execution_id="old")
    for _ in range(9):
        await agent.run("pass")
    again = await agent.run("runs += 1", execution_id="old")
    assert again.lines[0]["reason"] == "ring"
    assert again.end == first.end
    assert (await agent.run("print(runs)")).text == "1\n"


async def test_ten_thousand_displays_are_all_there(agent: AgentProcess) -> None:
    """Nothing is dropped on the way from a kernel that publishes as fast as it can."""
    result = await agent.run("for n in range(10_000): display(n)", output_bytes=64 * 1024 * 1024)
    assert [int(c["data"]["text/plain"]) for c in result.contents("display_data")] == list(
        range(10_000)
    )


async def test_text_of_any_script_passes_through(agent: AgentProcess) -> None:
    """Unicode, line feeds and quotes survive, also from a child process in large pieces."""
    text = 'line\n"quoted" 漢字 😀\n'
    assert (await agent.run(f"print({text!r}, end='')")).text == text
    code = (
        "import subprocess, sys\n"
        "subprocess.run([sys.executable, '-c', 'print(\"漢字\" * 20000)']); None"
    )
    assert (await agent.run(code)).text == "漢字" * 20000 + "\n"


async def test_input_is_refused(agent: AgentProcess) -> None:
    """`input()` raises at once instead of waiting for an answer that cannot come."""
    assert (await agent.run("input('name?')")).error == "StdinNotImplementedError"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        {"id": "a", "code": "1"},
        {"id": "", "code": "1", "output_bytes": 1},
        {"id": "a/b", "code": "1", "output_bytes": 1},
        {"id": "a", "code": 1, "output_bytes": 1},
        {"id": "a", "code": "1", "output_bytes": -1},
        {"id": "a", "code": "#" * (8 * 1024 * 1024 + 1), "output_bytes": 1},
    ],
)
async def test_a_malformed_request_is_refused(agent: AgentProcess, body: object) -> None:
    """What is not a request starts nothing."""
    status, answer = await agent.call("POST", "executions", body)
    assert (status, json.loads(answer)["error"]["code"]) == (400, "invalid_request")


async def test_an_unknown_call_is_not_found(agent: AgentProcess) -> None:
    """There is nothing beside the protocol."""
    for method, path in [("GET", "nothing"), ("POST", "files/a"), ("DELETE", "executions/a")]:
        status, _ = await agent.call(method, path)
        assert status == 404
