"""`sandbox-service run`: a script in a sandbox, as if it ran here."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.service import ServiceProcess


def command(service: ServiceProcess, *arguments: str) -> dict[str, Any]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("SANDBOX_")}
    environment |= {"SANDBOX_URL": service.url, "SANDBOX_API_KEY": service.key}
    return {
        "args": [sys.executable, "-m", "sandbox_service", "run", *arguments],
        "env": environment,
        "text": True,
        "stdout": subprocess.PIPE,
        "stderr": subprocess.PIPE,
    }


def run(
    service: ServiceProcess, code: str, *arguments: str, **options: Any
) -> "subprocess.CompletedProcess[str]":
    """The script on standard input."""
    asked = command(service, "-", *arguments)
    return subprocess.run(**asked, input=code, timeout=60, **options)


def live_sessions(service: ServiceProcess) -> list[str]:
    """Ids of the sessions that hold a sandbox."""
    headers = {"Authorization": f"Bearer {service.key}"}
    found = httpx.get(f"{service.url}/v1/sessions?limit=100", headers=headers).json()["data"]
    return [session["id"] for session in found if session["status"] in ("starting", "ready")]


def test_a_script_with_a_file_gives_its_output_and_its_files(
    service: ServiceProcess, tmp_path: Path
) -> None:
    """Standard output and error apart, files below --out, the sandbox gone afterwards."""
    (tmp_path / "in.csv").write_text("a,b\n1,2\n3,4\n")
    script = tmp_path / "script.py"
    script.write_text(
        "import sys, pandas as pd\n"
        "table = pd.read_csv('in.csv')\n"
        "print(len(table), 'rows')\n"
        "print('careful', file=sys.stderr)\n"
        "table.sum().to_csv('sums.csv')\n"
    )
    out = tmp_path / "results"
    asked = command(service, str(script), "--file", str(tmp_path / "in.csv"), "--out", str(out))
    done = subprocess.run(**asked, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "2 rows\n"
    assert done.stderr == f"careful\nsaved {out}/sums.csv\n"
    assert (out / "sums.csv").read_text() == ",0\na,4\nb,6\n"
    assert live_sessions(service) == []


def test_a_script_is_what_it_would_be_here(service: ServiceProcess, tmp_path: Path) -> None:
    """It knows its file, runs its own loop and encoding, and prints no more than it prints."""
    script = tmp_path / "plot.py"
    script.write_text(
        "\ufeffimport asyncio, pathlib, sys\n"
        "import matplotlib.pyplot as plt\n"
        "async def main(): return len(pathlib.Path(__file__).read_text())\n"
        "sys.stdout.reconfigure(encoding='utf-8')\n"
        "print(pathlib.Path(__file__).name, asyncio.run(main()) > 100, sys.argv == [__file__])\n"
        "plt.plot([1, 2]); plt.savefig('plot.png')\n"
        "'a value'\n",
        encoding="utf-8",
    )
    done = subprocess.run(**command(service, str(script)), timeout=60)
    assert (done.returncode, done.stdout) == (0, "plot.py True True\n"), done.stderr
    assert done.stderr == "not saved, since there is no --out: 'plot.png'\n"


@pytest.mark.parametrize(
    ("code", "arguments", "status", "said"),
    [
        ("1 / 0", (), 1, "ZeroDivisionError"),
        ("import sys; sys.exit()", (), 0, ""),
        ("import sys; sys.exit(3)", (), 3, ""),
        ("raise SystemExit('bad luck')", (), 1, "bad luck\n"),
        ("while True: pass", ("--timeout", "1"), 124, "Time limit reached"),
        ("import os; os._exit(9)", (), 1, "kernel died"),
        (
            "open('made.txt', 'w').write('x');",
            (),
            0,
            "not saved, since there is no --out: 'made.txt'",
        ),
    ],
)
def test_the_exit_status_is_that_of_the_script(
    service: ServiceProcess, code: str, arguments: tuple[str, ...], status: int, said: str
) -> None:
    """And what ended it is said on standard error."""
    done = run(service, code, *arguments)
    assert done.returncode == status, done.stderr
    assert said in done.stderr
    if not said:
        assert done.stderr == ""


def test_a_timeout_may_be_longer_than_the_services_usual_limit(service: ServiceProcess) -> None:
    """The session is opened with it."""
    assert run(service, "print(1)", "--timeout", "600").stdout == "1\n"


def test_output_comes_while_the_script_runs_and_ctrl_c_interrupts_it(
    service: ServiceProcess,
) -> None:
    """The script sees KeyboardInterrupt and may clean up; the status is 130."""
    code = """\
import time
try:
    print("started", flush=True)
    while True: time.sleep(0.1)
finally:
    print("cleaned up")
"""
    with subprocess.Popen(**command(service, "-"), stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(code)
        process.stdin.close()
        assert process.stdout.readline() == "started\n"
        process.send_signal(signal.SIGINT)
        assert process.stdout.read() == "cleaned up\n"
        assert process.wait(60) == 130


def test_a_second_ctrl_c_leaves_and_the_session_is_closed(service: ServiceProcess) -> None:
    """Though the script ignores the first."""
    code = """\
import signal, time
signal.signal(signal.SIGINT, signal.SIG_IGN)
print("deaf", flush=True)
while True: time.sleep(0.1)
"""
    with subprocess.Popen(**command(service, "-"), stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(code)
        process.stdin.close()
        assert process.stdout.readline() == "deaf\n"
        for _ in range(2):
            process.send_signal(signal.SIGINT)
            time.sleep(1)  # two at once would be one
        assert process.wait(60) == 130
        assert process.stderr is not None
        assert "Traceback" not in process.stderr.read()
    assert live_sessions(service) == []


@pytest.mark.parametrize(
    ("arguments", "environment", "status", "said"),
    [
        (("nowhere.py",), {}, 2, "nowhere.py cannot be read"),
        (("-", "--file", "nowhere.csv"), {}, 2, "no such file: nowhere.csv"),
        (("-",), {"SANDBOX_API_KEY": "wrong"}, 125, "sandbox-service: "),
        (("-",), {"SANDBOX_URL": "http://127.0.0.1:9"}, 125, "no answer from http://127.0.0.1:9"),
    ],
)
def test_our_own_failures_are_one_sentence_and_a_status_of_their_own(
    service: ServiceProcess,
    arguments: tuple[str, ...],
    environment: Mapping[str, str],
    status: int,
    said: str,
) -> None:
    """No script ends with 125 by accident."""
    asked = command(service, *arguments)
    asked["env"] = {**asked["env"], **environment}
    done = subprocess.run(**asked, input="print(1)", timeout=60)
    assert done.returncode == status
    assert said in done.stderr
    assert "Traceback" not in done.stderr
