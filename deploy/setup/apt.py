"""Debian's and Ubuntu's packages, without questions; what apt says goes into the step's log."""

import os

from images.progress import Progress

QUIETLY = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}


def update_lists(progress: Progress) -> None:
    """Raises StepFailed."""
    progress.run(["apt-get", "update", "-q"], QUIETLY)


def install_packages(progress: Progress, *packages: str, update: bool = True) -> None:
    """With the least that makes them work. Raises StepFailed."""
    if update:
        update_lists(progress)
    progress.run(["apt-get", "install", "-qy", "--no-install-recommends", *packages], QUIETLY)
