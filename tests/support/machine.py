"""Files of tests run side by side; a test marked `alone` has the machine to itself all the same.

Every test holds a lock while it runs: shared with the tests of other workers, or alone. Whoever waits for it holds
the gate before it, so that a test that waits to be alone is not overtaken for ever. Waiting is outside of the
test's own time limit.
"""

import fcntl
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

# Files of this checkout that are always there; nothing is written to them.
LOCK = Path(__file__)
GATE = LOCK.with_name("__init__.py")


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    kind = fcntl.LOCK_EX if item.get_closest_marker("alone") else fcntl.LOCK_SH
    with _held(kind):
        return (yield)


@contextmanager
def _held(kind: int) -> Iterator[None]:
    with LOCK.open() as lock:
        with GATE.open() as gate:
            fcntl.flock(gate, fcntl.LOCK_EX)
            fcntl.flock(lock, kind)
        yield
