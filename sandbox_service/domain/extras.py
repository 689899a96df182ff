"""What is said when a package is not installed that only some need."""

from collections.abc import Iterator
from contextlib import contextmanager


class MissingExtra(ImportError):
    """A package is not installed; the message names the extra that brings it."""


@contextmanager
def needing(extra: str) -> Iterator[None]:
    """Import what the extra brings in this block. Raises MissingExtra."""
    try:
        yield
    except ImportError as error:
        missing = error.name or extra
        raise MissingExtra(
            f"{missing} is not installed: pip install 'sandbox-service[{extra}]'", name=error.name
        ) from error
