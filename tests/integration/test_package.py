"""What `pip install sandbox-service` brings: a server, and of the rest what was asked for."""

import re
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FRAMEWORKS = ("agents", "anthropic", "google", "langchain_core", "pydantic_ai")
ABSENT = (*FRAMEWORKS, "PIL", "mcp", "mcp_types", "nbformat", "openai", "rich")
NAMES = re.compile(r"^Requires-Dist: ([a-z0-9-]+)(?!.*extra ==)", re.MULTILINE)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=60)
    [path] = folder.glob("*.whl")
    return zipfile.ZipFile(path)


def test_the_wheel_claims_two_names(wheel: zipfile.ZipFile) -> None:
    """And brings the data files of both."""
    names = wheel.namelist()
    tops = {name.partition("/")[0] for name in names if ".dist-info/" not in name}
    assert tops == {"sandbox_service", "runner"}
    assert "sandbox_service/backends/docker/seccomp.json" in names


def test_a_server_needs_no_framework(wheel: zipfile.ZipFile) -> None:
    """What is only for the assistant, the chat, MCP or a framework comes with its extra."""
    [metadata] = [name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")]
    needed = set(NAMES.findall(wheel.read(metadata).decode()))
    assert {"fastapi", "docker", "redis"} <= needed
    assert not needed & {"openai", "rich", "pillow", "mcp", "anthropic", "nbformat"}


def without(absent: Sequence[str], code: str) -> subprocess.CompletedProcess[str]:
    """Run code where these packages cannot be imported."""
    hide = f"import sys; sys.modules.update(dict.fromkeys({absent!r}))\n"
    return subprocess.run(
        [sys.executable, "-c", hide + code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_service_and_its_commands_load_without_any_extra() -> None:
    """Only the rooms that are named after an extra are closed."""
    done = without(
        ABSENT, "import sandbox_service.app, sandbox_service.cli, sandbox_service.client"
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("module", "absent", "extra"),
    [
        ("sandbox_service.mcp.http", "mcp", "mcp"),
        ("runner.dispatch", "PIL", "tool"),
        ("runner.model", "openai", "assistant"),
        ("runner.chat.main", "rich", "chat"),
    ],
)
def test_a_closed_room_names_its_extra(module: str, absent: str, extra: str) -> None:
    """The last line of the traceback is what to type."""
    last = without((absent,), f"import {module}").stderr.splitlines()[-1]
    assert last.endswith(f"is not installed: pip install 'sandbox-service[{extra}]'")


def test_the_command_of_a_closed_room_is_one_sentence() -> None:
    """No traceback for the person at the terminal."""
    done = without(ABSENT, "from sandbox_service.cli import main; sys.exit(main(['mcp']))")
    assert done.returncode == 2
    assert done.stderr == (
        "sandbox-service: mcp is not installed: pip install 'sandbox-service[mcp]'\n"
    )
