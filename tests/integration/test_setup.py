"""The set-up scripts: silent when nothing is to do, one sentence when something cannot be done."""

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def run_setup(script: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The script as make runs it, with some settings of its own."""
    is_shell = script.endswith(".sh")
    command = (
        [f"deploy/setup/{script}"] if is_shell else [sys.executable, "-m", f"deploy.setup.{script}"]
    )
    return subprocess.run(
        command,
        env={**os.environ, **environment},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def answering_socket(tmp_path: Path) -> Iterator[str]:
    """A unix socket behind which something answers like an engine."""
    path = str(tmp_path / "engine.sock")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        thread = threading.Thread(target=_answer_once, args=[listener])
        thread.start()
        yield path
        thread.join(10)


def _answer_once(listener: socket.socket) -> None:
    line, _ = listener.accept()
    with line:
        line.recv(1024)
        line.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK")


def test_an_engine_that_answers_is_left_alone(answering_socket: str) -> None:
    """Nothing is installed, nothing is printed."""
    done = run_setup("ensure_engine", DOCKER_HOST=f"unix://{answering_socket}")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_named_engine_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    """An engine that the user chose is never replaced by one of ours."""
    done = run_setup("ensure_engine", DOCKER_HOST=f"unix://{tmp_path}/none.sock")
    assert done.returncode == 1
    assert done.stderr.startswith("error: The engine that DOCKER_HOST names does not answer")
    assert "Traceback" not in done.stderr


def test_the_image_build_without_an_engine_is_one_sentence(tmp_path: Path) -> None:
    """No traceback for the person at the terminal."""
    done = subprocess.run(
        [sys.executable, "-m", "images.build"],
        env={**os.environ, "DOCKER_HOST": f"unix://{tmp_path}/none.sock"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("error: No Docker engine answers")
    assert "Traceback" not in done.stderr


def test_a_python_that_can_make_environments_is_found() -> None:
    """The chosen Python comes first."""
    done = run_setup("ensure_python.sh", PYTHON=sys.executable)
    assert done.stdout.strip() == sys.executable


def test_without_a_recent_python_there_is_one_sentence(tmp_path: Path) -> None:
    """An empty search path has none."""
    done = run_setup("ensure_python.sh", PYTHON="", PATH=str(tmp_path))
    assert done.returncode == 1
    assert done.stderr.startswith("error: Python 3.11 or newer is needed")


@pytest.mark.usefixtures("gvisor")
def test_a_runtime_that_is_set_up_is_left_alone() -> None:
    """Nothing is installed, no configuration written, the engine not told to read it again."""
    done = run_setup("ensure_runsc")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_doctor_names_what_is_missing_and_what_makes_it(tmp_path: Path) -> None:
    """Here an engine that does not answer; what there is is told too."""
    done = run_setup("doctor", DOCKER_HOST=f"unix://{tmp_path}/none.sock")
    assert (done.returncode, done.stderr) == (1, "")
    lines = {line[8:].partition(":")[0]: line for line in done.stdout.splitlines()}
    assert list(lines) == ["environment", "engine", "redis"]
    assert lines["engine"].startswith("to do")
    assert lines["engine"].endswith("-> make engine")
