"""Every lock by pip alone, the oldest that we promise and the newest: `make installers`. It fetches them."""

from pathlib import Path

from deploy.setup import ensure_venv
from images.progress import Progress
from tests.integration.installing.installers import settings, wanted
from tests.support.fake_index import FakeIndex, installed_in


def test_pip_installs_a_lock_as_it_stands(
    pip: Path, lock: Path, environment: Path, index: FakeIndex, progress: Progress
) -> None:
    """Nothing is resolved, so that nothing newer is met."""
    command = [*ensure_venv.pip(environment), *ensure_venv.AS_LOCKED, "-r", lock]
    progress.run(command, settings(index, pip))
    assert installed_in(environment) == wanted(lock)
