"""`python -m runner chat` as a person meets it: in a real terminal, over a pipe, in two processes."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import nbformat
import pytest

from runner.history import read_record, stored
from sandbox_service.client import ClientError, SandboxClient
from tests.support.pty_process import PtyProcess
from tests.support.service import ServiceProcess

ROOT = Path(__file__).parents[2]


@pytest.fixture
def place(tmp_path: Path, service: ServiceProcess) -> Iterator["Place"]:
    place = Place(tmp_path, service)
    yield place
    place.close_sessions()


class Place:
    """A person's directory, in which chats begin and are taken up again."""

    def __init__(self, directory: Path, service: ServiceProcess) -> None:
        self.directory = directory
        self.service = service
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("SANDBOX_", "OPENAI_", "RUNNER_", "TMUX", "KITTY", "TERM"))
        }
        self.environment = {
            **inherited,
            "SANDBOX_URL": service.url,
            "SANDBOX_API_KEY": service.key,
            "RUNNER_HISTORY": str(self.conversations),
            "PYTHONPATH": str(ROOT),
            "TERM": "xterm-256color",
        }

    @property
    def conversations(self) -> Path:
        return self.directory / "conversations"

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "runner", "chat", "--model", "echo", *arguments]

    def terminal(self, *arguments: str, **environment: str) -> PtyProcess:
        """A chat in a terminal; the scripted model runs what is typed as code."""
        chat = PtyProcess(self.command(*arguments), self.environment | environment, self.directory)
        chat.until("> ")
        return chat

    def piped(
        self, lines: str, *arguments: str, **environment: str
    ) -> "subprocess.CompletedProcess[str]":
        """A chat whose lines come from a pipe."""
        return subprocess.run(
            self.command(*arguments),
            input=lines,
            env=self.environment | environment,
            cwd=self.directory,
            capture_output=True,
            text=True,
            timeout=90,
        )

    def session_id(self) -> str:
        """The session of the latest conversation."""
        state = next(stored(self.conversations)).state
        assert state is not None
        return str(state["session_id"])

    def close_sessions(self) -> None:
        """Chats leave their sessions alive; the service is other tests' too."""
        headers = {"Authorization": f"Bearer {self.service.key}"}
        for record in stored(self.conversations):
            session_id = (record.state or {}).get("session_id")
            if session_id:
                httpx.delete(f"{self.service.url}/v1/sessions/{session_id}", headers=headers)

    async def expire_session(self) -> None:
        """Let the latest conversation's session come to its end by not being used."""
        async with SandboxClient(self.service.url, self.service.key) as client:
            session = client.session(self.session_id())
            await session.update(idle_ttl_s=1)
            while await _is_alive(session):
                time.sleep(0.2)  # noqa: ASYNC251 - nothing else runs


async def _is_alive(session: object) -> bool:
    try:
        return (await session.info()).status == "ready"  # type: ignore[attr-defined]
    except ClientError:
        return False


def ask(chat: PtyProcess, question: str) -> None:
    """Type a question and wait for the end of its turn."""
    chat.type(f"{question}\n")
    chat.until("request")
    chat.until("> ")


def test_output_is_seen_as_it_prints_and_ctrl_c_keeps_the_variables(place: Place) -> None:
    """Lines come one by one, not together at the end; the loop is stopped in its middle."""
    with place.terminal() as chat:
        chat.type("import time; [(print('line', n := i), time.sleep(.3)) for i in range(100)]\n")
        for number in range(10):
            chat.until(f"│ line {number}")
        chat.press_ctrl_c()
        chat.until("╰─ interrupted")
        chat.until("stopped: the user stopped this turn")
        chat.until("> ")
        ask(chat, "print('kept', n >= 9, n < 99)")
        assert "kept True True" in chat.text
        chat.type("/quit\n")
        assert chat.wait() == 0


def test_code_is_seen_while_it_is_written_and_answers_are_formatted(place: Place) -> None:
    """A bar beside the code, colours, Markdown without its signs."""
    with place.terminal() as chat:
        ask(chat, "print('# A' + ' title\\n\\nand **strong** words')")
        assert "╭─ python" in chat.text
        answer = chat.text[chat.text.rindex("A title") :]
        assert "and strong words" in answer
        assert b"\x1b[" in chat.raw


def test_a_second_ctrl_c_leaves(place: Place) -> None:
    """While a cell runs that ignores the first; the conversation is stored and says how to go on."""
    code = "import signal, time; signal.signal(signal.SIGINT, signal.SIG_IGN); print('deaf'); time.sleep(60)"
    with place.terminal() as chat:
        chat.type(f"{code}\n")
        chat.until("│ deaf")
        chat.press_ctrl_c()
        time.sleep(1)  # two at once would be one
        chat.press_ctrl_c()
        chat.until("Go on with: python -m runner chat --resume ")
        assert chat.wait() == 130
        assert "Traceback" not in chat.text
    assert len(list(stored(place.conversations))) == 1


def test_ctrl_c_at_the_prompt_leaves_when_pressed_twice(place: Place) -> None:
    """Once could be a slip."""
    with place.terminal() as chat:
        for _ in range(2):
            time.sleep(1)  # no person is quicker than readline's first wait for a key
            chat.press_ctrl_c()
        chat.until("Ctrl-C again")
        assert chat.wait() == 0
        assert "Go on with" not in chat.text, "nothing was said, so nothing is stored"


def test_the_commands_do_what_help_says(place: Place) -> None:
    """Upload, list, save as a notebook that opens, begin anew."""
    (place.directory / "my data.csv").write_text("a\n1\n2\n")
    with place.terminal() as chat:
        chat.type("/help\n")
        chat.until("/save NAME.ipynb")
        chat.until("> ")
        chat.type("/nonsense\n")
        chat.until("there is no /nonsense")
        chat.until("> ")
        chat.type("/upload 'my data.csv'\n")
        chat.until("/mnt/data/my data.csv is for the next question")
        chat.until("> ")
        ask(chat, "a first one, which carries the note on files")
        ask(chat, "n = 5; open('made.txt', 'w').write('x'); print(open('my data.csv').read())")
        chat.type("/files\n")
        chat.until("made.txt  1 B")
        chat.until("my data.csv  6 B")
        chat.until("> ")
        chat.type("/save work.ipynb\n")
        chat.until("saved work.ipynb")
        chat.until("> ")
        chat.type("/reset\n")
        chat.until("a new conversation, without variables")
        chat.until("> ")
        ask(chat, "a first one again")
        ask(chat, "print('n' in globals(), open('my data.csv').read()[0])")
        assert "False a" in chat.text
        chat.type("\x04")
        assert chat.wait() == 0
    assert (place.directory / "results" / "made.txt").read_text() == "x"
    notebook = nbformat.read(place.directory / "work.ipynb", as_version=4)
    nbformat.validate(notebook)
    assert [cell.cell_type for cell in notebook.cells] == ["markdown", "code", "markdown"] * 2
    assert len(list(stored(place.conversations))) == 2


PLOT = "import matplotlib.pyplot as plt; plt.plot([1, 2]); plt.show()"


def test_a_picture_is_shown_where_the_terminal_can(place: Place) -> None:
    """Drawn by the terminal's own protocol, and not saved too."""
    with place.terminal(RUNNER_PICTURES="kitty") as chat:
        ask(chat, PLOT)
        assert re.search(rb"\x1b_Ga=T,f=100,q=2,m=[01];iVBOR", chat.raw)
    assert not (place.directory / "results").exists()


def test_a_picture_is_saved_where_the_terminal_cannot(place: Place) -> None:
    """Its name is on the screen."""
    with place.terminal() as chat:
        ask(chat, PLOT)
        assert "saved results/chart-1.png" in chat.text
    assert (place.directory / "results" / "chart-1.png").read_bytes().startswith(b"\x89PNG")


def test_a_pipe_gets_plain_lines(place: Place) -> None:
    """No colours, no spinner, each line a question or a command; the end of input leaves."""
    done = place.piped("n = 20\n\nprint(n + 1)\n/files\n")
    assert done.returncode == 0, done.stderr
    assert "\x1b" not in done.stdout
    assert "> print(n + 1)" in done.stdout
    assert "  │ 21" in done.stdout
    assert "there are no files in /mnt/data" in done.stdout
    assert "Go on with: python -m runner chat --resume " in done.stdout


def test_a_failure_over_a_pipe_is_the_exit_status(place: Place) -> None:
    """The lines after it are still answered."""
    done = place.piped("/nonsense\nprint(6 * 7)\n")
    assert done.returncode == 1
    assert done.stderr == "runner: there is no /nonsense; /help lists what there is\n"
    assert "  │ 42" in done.stdout


def test_a_conversation_is_taken_up_in_a_new_process_with_its_session(place: Place) -> None:
    """Variables are there; the history goes on in the same file."""
    first = place.piped("n = 41\n")
    assert first.returncode == 0, first.stderr
    second = place.piped("n + 1\n", "--resume")
    assert "its session is alive until" in second.stdout
    assert "  │ 42" in second.stdout
    (record,) = stored(place.conversations)
    assert len(record.messages) == 9
    assert len(record.used) == 2
    assert place.service.key not in (place.conversations / f"{record.id}.jsonl").read_text()
    listed = place.piped("", "--list")
    assert listed.stdout == f"{record.id}  n = 41\n"


def test_a_chat_killed_in_the_middle_of_a_cell_is_taken_up(place: Place) -> None:
    """Its session is alive, with what the cell had done; the model is told why there is no result."""
    with place.terminal() as chat:
        ask(chat, "done = []")
        chat.type(
            "import time; [(done.append(i), print('at', i), time.sleep(.1)) for i in range(600)]\n"
        )
        chat.until("│ at 3")
        os.kill(_python_of(chat), signal.SIGKILL)
        chat.process.wait(60)
    again = place.piped("print(3 < len(done) < 600)\n", "--resume")
    assert again.returncode == 0, again.stderr
    assert "its session is alive until" in again.stdout
    assert "  │ True" in again.stdout
    (record,) = stored(place.conversations)
    told = [message["content"] for message in record.messages if message["role"] == "tool"]
    assert told[1].startswith("Not run: the program ended in the middle of it")


def _python_of(chat: PtyProcess) -> int:
    """The chat itself, below the process that gave it its terminal."""
    children = Path(f"/proc/{chat.process.pid}/task/{chat.process.pid}/children")
    return int((children.read_text().split() or [chat.process.pid])[0])


async def test_a_conversation_is_taken_up_after_its_session_expired(place: Place) -> None:
    """The model is told; the files of the person and those of the code are there."""
    table = place.directory / "table.csv"
    table.write_text("a\n1\n")
    lines = (
        "a first one, which carries the note on files\nn = 1; open('made.txt', 'w').write('kept')\n"
    )
    place.piped(lines, "--file", str(table))
    await place.expire_session()
    look = "print('n' in globals(), open('made.txt').read(), open('table.csv').read()[0])\n"
    again = place.piped(look, "--resume")
    assert "its session is over" in again.stdout
    assert "  │ False kept a" in again.stdout
    record = read_record(place.conversations / f"{next(stored(place.conversations)).id}.jsonl")
    told = [message["content"] for message in record.messages if message["role"] == "tool"][-1]
    assert told.startswith(
        "A new session was opened, since the one before is over: it was not used for too long. "
        "Variables and imports are gone; files restored: table.csv, made.txt."
    )


def test_a_file_can_come_with_a_conversation_that_is_taken_up(place: Place) -> None:
    """It is put into the session that is still alive; a new one by /reset gets it too."""
    place.piped("n = 1\n")
    (place.directory / "more.csv").write_text("b\n")
    look = "a first one, which carries the note on files\nprint(n, open('more.csv').read())\n"
    again = place.piped(
        f"{look}/reset\n{look}print(open('more.csv').read())\n", "--resume", "--file", "more.csv"
    )
    assert "  │ 1 b" in again.stdout
    assert "NameError: name 'n' is not defined" in again.stdout
    assert "  │ b" in again.stdout


def test_two_chats_cannot_hold_one_conversation(place: Place) -> None:
    """The second says so."""
    with place.terminal() as chat:
        ask(chat, "n = 1")
        second = place.piped("n\n", "--resume")
    assert second.returncode == 1
    assert "open in another process" in second.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--resume", "nowhere"), "there is no conversation nowhere"),
        (("--resume",), "there is no conversation in"),
        (("--file", "nowhere.csv"), "no such file: nowhere.csv"),
        (("--max-cost", "1"), "a limit of cost needs the price of the model"),
        (("--url", "http://127.0.0.1:9"), "Start the service with `make serve`"),
    ],
)
def test_what_cannot_work_is_said_at_once(
    place: Place, arguments: tuple[str, ...], said: str
) -> None:
    """One sentence, exit status 1."""
    done = place.piped("", *arguments)
    assert done.returncode == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_cost_is_shown_by_the_callers_prices(place: Place) -> None:
    """And limits a turn."""
    prices = place.directory / "prices.json"
    prices.write_text(json.dumps({"echo": {"input": 1, "output": 1000000}}))
    done = place.piped("1\n", "--prices", str(prices), "--max-cost", "0.5")
    assert "stopped: the limit of cost for this turn is reached" in done.stdout
    assert "cost " in done.stdout
