"""What is said when a framework is not installed."""

from collections.abc import Iterator
from contextlib import contextmanager


class MissingExtra(ImportError):
    """The framework is not installed; the message names the extra that brings it."""


@contextmanager
def needing(extra: str) -> Iterator[None]:
    """Import a framework in this block. Raises MissingExtra."""
    try:
        yield
    except ImportError as error:
        missing = error.name or extra
        raise MissingExtra(
            f"{missing} is not installed: pip install 'sandbox-service[{extra}]'", name=error.name
        ) from error
