"""The real locks over an index of tiny wheels, and empty environments."""

import venv
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.setup import ensure_venv
from images import context
from images.progress import Progress
from tests.integration.installing.installers import PIPS, fetched
from tests.support.fake_index import FakeIndex, read_lock

SMALLEST = context.SOURCE / "requirements-agent.lock"
LOCKS = [
    *sorted(ensure_venv.LOCKS.glob("*.txt")),
    *sorted(context.SOURCE.glob("requirements-*.lock")),
]


@pytest.fixture(scope="package")
def index(tmp_path_factory: pytest.TempPathFactory) -> FakeIndex:
    return FakeIndex(tmp_path_factory.mktemp("index"))


@pytest.fixture(params=LOCKS, ids=lambda lock: lock.name)
def lock(request: pytest.FixtureRequest, index: FakeIndex, tmp_path: Path) -> Path:
    """Each real lock, with the hashes of the index's wheels."""
    return written(request.param, index, tmp_path)


@pytest.fixture
def smallest(index: FakeIndex, tmp_path: Path) -> Path:
    """The shortest of them, where one is enough."""
    return written(SMALLEST, index, tmp_path)


def written(real: Path, index: FakeIndex, folder: Path) -> Path:
    path = folder / "lock.txt"
    path.write_text(index.add(read_lock(real)))
    return path


@pytest.fixture(scope="package", params=PIPS)
def pip(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Each pip, as a folder for PYTHONPATH."""
    return fetched(request.param, tmp_path_factory.mktemp("pip"))


@pytest.fixture
def environment(tmp_path: Path) -> Path:
    """An empty virtual environment."""
    venv.create(tmp_path / "venv", symlinks=True)
    return tmp_path / "venv"


@pytest.fixture
def progress() -> Iterator[Progress]:
    with Progress("Installing", "test-locks", ensure_venv.TOLD) as progress:
        yield progress
