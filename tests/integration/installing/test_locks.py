"""A lock installs as it stands on a day when all has become newer; `make installers` does all of them by every pip."""

import subprocess
import venv
from pathlib import Path

import pytest

from deploy.setup import ensure_venv
from images import context
from images.progress import Progress, StepFailed
from tests.integration.installing.installers import NEWEST, OLD, our_uv, settings, wanted
from tests.support.fake_index import FakeIndex, Pin, installed_in, read_lock


def test_uv_installs_every_lock_as_it_stands(
    lock: Path, environment: Path, index: FakeIndex, progress: Progress, tmp_path: Path
) -> None:
    """And takes away what is in no lock."""
    stale = tmp_path / "stale.txt"
    stale.write_text(index.add([Pin("stale", "1.0", "")]))
    for one in (stale, lock):
        ensure_venv.by_uv(our_uv(), environment, one, progress, settings(index))
    assert installed_in(environment) == wanted(lock)


def test_where_uv_cannot_be_had_any_pip_does_it(
    pip: Path, environment: Path, index: FakeIndex, progress: Progress, smallest: Path
) -> None:
    """The index has no uv with the lock's hash; nobody has to do anything."""
    index.add(read_lock(ensure_venv.UV_LOCK))
    ensure_venv.install(environment, smallest, progress, settings(index, pip))
    assert installed_in(environment) == wanted(smallest)


@pytest.mark.parametrize("pip", OLD, indirect=True)
def test_an_old_pip_that_resolves_fails_on_that_day(
    pip: Path, environment: Path, index: FakeIndex, progress: Progress, smallest: Path
) -> None:
    """A control: these wheels do ask for more than the lock has. The failure names the whole log."""
    command = [*ensure_venv.pip(environment), "--require-hashes", "-r", smallest]
    with pytest.raises(StepFailed, match="--require-hashes mode") as failed:
        progress.run(command, settings(index, pip))
    assert str(failed.value).endswith("/.setup/test-locks.log")


@pytest.mark.parametrize("pip", [NEWEST], indirect=True)
@pytest.mark.parametrize("has_uv", [True, False])
def test_the_images_script_installs_a_lock_as_it_stands(
    has_uv: bool, pip: Path, environment: Path, index: FakeIndex, smallest: Path
) -> None:
    """As in the image's build: a pip beside, and an environment without one that is filled."""
    folder = smallest.parent
    (folder / "uv.lock").write_text(index.add(read_lock(ensure_venv.UV_LOCK)))
    make_tools(folder, pip, has_uv=has_uv)
    done = subprocess.run(
        ["sh", context.SOURCE / "install-lock.sh", environment, smallest.name],
        cwd=folder,
        env=settings(index),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert ("pip takes some minutes" in done.stdout) is not has_uv
    assert installed_in(environment) == wanted(smallest)


def make_tools(folder: Path, pip: Path, *, has_uv: bool) -> None:
    """The environment that the image's build installs with, with this pip and our uv."""
    venv.create(folder / "pip", symlinks=True)
    program = folder / "pip" / "bin" / "pip"
    python = f"{folder}/pip/bin/python"
    program.write_text(f'#!/bin/sh\nPYTHONPATH={pip} exec {python} -m pip "$@"\n')
    program.chmod(0o755)
    if has_uv:
        (folder / "pip" / "bin" / "uv").symlink_to(our_uv())
