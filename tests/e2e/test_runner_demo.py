"""`python -m runner.demo`: from nothing to a chart and a table, and nothing left."""

import os
import re
import subprocess
import sys
from pathlib import Path

import docker
import pytest

from tests.support.service import ServiceProcess

ROOT = Path(__file__).parents[2]
INSTANCE_LABEL = "sandbox-service.instance"


def run_demo(
    directory: Path, short_dir: Path, **environment: str
) -> subprocess.CompletedProcess[str]:
    """The demo, run in `directory` with these settings alone; what is temporary lies in `short_dir`."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("SANDBOX_", "OPENAI_"))}
    return subprocess.run(
        [sys.executable, "-m", "runner.demo"],
        cwd=directory,
        env={**kept, "PYTHONPATH": str(ROOT), "TMPDIR": str(short_dir), **environment},
        capture_output=True,
        text=True,
        timeout=110,
    )


def containers_below(engine: docker.DockerClient, directory: Path) -> list[str]:
    """Names of the containers whose control directory lies there: other tests run demos too."""
    found = engine.containers.list(all=True, filters={"label": INSTANCE_LABEL}, ignore_removed=True)
    mounted = {
        box.name: [mount.get("Source", "") for mount in box.attrs["Mounts"]] for box in found
    }
    return [
        name
        for name, sources in mounted.items()
        if any(source.startswith(str(directory)) for source in sources)
    ]


def test_the_demo_starts_a_service_of_its_own_and_leaves_only_the_results(
    engine: docker.DockerClient, tmp_path: Path, short_dir: Path
) -> None:
    """No container, no process, no temporary directory; a PNG and a CSV."""
    done = run_demo(tmp_path, short_dir, SANDBOX_URL="http://127.0.0.1:9")
    assert done.returncode == 0, done.stderr
    assert "August (20.4 °C)" in done.stdout
    assert re.search(r"Chart: results/seattle-weather\.png \(1650 x 630 pixels", done.stdout)
    assert "Table: results/seattle-monthly-temperature.csv (12 rows, 5 columns)" in done.stdout
    assert os.listdir(tmp_path) == ["results"]
    assert (containers_below(engine, short_dir), list(short_dir.iterdir())) == ([], [])


def test_the_demo_uses_a_service_that_runs(
    service: ServiceProcess, tmp_path: Path, short_dir: Path
) -> None:
    """With the caller's key; the service is not touched otherwise."""
    done = run_demo(tmp_path, short_dir, SANDBOX_URL=service.url, SANDBOX_API_KEY=service.key)
    assert done.returncode == 0, done.stderr
    assert f"Using the service at {service.url}." in done.stdout


@pytest.mark.usefixtures("engine")
def test_a_service_that_cannot_start_is_said_with_its_own_words(
    tmp_path: Path, short_dir: Path
) -> None:
    """What the service last said, no traceback of ours, no results."""
    done = run_demo(
        tmp_path, short_dir, SANDBOX_URL="http://127.0.0.1:9", SANDBOX_NO_SUCH_SETTING="1"
    )
    assert done.returncode == 1
    assert done.stderr.startswith("demo: the service ended at once:\n")
    assert "SANDBOX_NO_SUCH_SETTING" in done.stderr
    assert "Traceback" not in done.stderr
    assert os.listdir(tmp_path) == []
