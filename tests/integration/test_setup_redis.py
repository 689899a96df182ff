"""The set-up script for Redis: silent when nothing is to do, one sentence when something cannot be done."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.redis_server import require_redis_server

ROOT = Path(__file__).parents[2]


def run_script(**environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "deploy.setup.ensure_redis"],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_redis_server_that_is_there_is_left_alone() -> None:
    """Nothing is installed, nothing is printed."""
    require_redis_server()
    done = run_script()
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_one_that_is_too_old_is_one_sentence(tmp_path: Path) -> None:
    program = tmp_path / "redis-server"
    program.write_text("#!/bin/sh\necho 'Redis server v=6.0.16 sha=00000000:0'\n")
    program.chmod(0o755)
    done = run_script(PATH=str(tmp_path))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "error: redis-server is version 6; 7 or newer is needed.\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="as another user it says that root is needed")
def test_without_apt_there_is_one_sentence(tmp_path: Path) -> None:
    """An empty search path has none."""
    done = run_script(PATH=str(tmp_path))
    assert done.returncode == 1
    assert done.stderr.startswith("error: There is no redis-server; install one")
