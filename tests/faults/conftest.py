"""Fixtures of the faults, and the table that is made of their outcomes.

`test_*.py` is the short selection of every test run; `long_*.py` is collected by `make faults` only, which
names the files. A test marked `fault(what, required)` is a row of the table.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.table import Row, write_table
from tests.support import private_engine
from tests.support.private_engine import PrivateEngine
from tests.support.redis_server import RedisServer

ROWS = pytest.StashKey[dict[str, Row]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--faults-table", type=Path, help="write the table of faults here")
    parser.addoption("--soak-s", type=float, default=120.0, help="how long the soak takes")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "fault(what, required): a row of the table of faults")
    config.stash[ROWS] = {}


@pytest.hookimpl(tryfirst=True)
def pytest_itemcollected(item: pytest.Item) -> None:
    marker = item.get_closest_marker("fault")
    if marker is not None:
        fault, required = marker.args
        item.config.stash[ROWS][item.nodeid] = Row(item.name, fault, required)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    outcome = yield
    row = item.config.stash[ROWS].get(item.nodeid)
    if row is not None:
        _take(row, outcome.get_result())


def _take(row: Row, report: pytest.TestReport) -> None:
    row.seconds += report.duration if report.when == "call" else 0.0
    measured = [str(value) for _, value in report.user_properties]
    if report.skipped:
        row.result, row.seen = "not run", str(report.longrepr[2]).removeprefix("Skipped: ")
    elif report.failed:
        row.result, row.seen = "failed", "; ".join([_first_line(report), *measured])
    elif report.when == "call":
        row.result, row.seen = "passed", "; ".join(measured)


def _first_line(report: pytest.TestReport) -> str:
    crash = getattr(report.longrepr, "reprcrash", None)
    return str(crash.message if crash else report.longrepr).splitlines()[0][:300]


def pytest_sessionfinish(session: pytest.Session) -> None:
    path = session.config.getoption("--faults-table", None)
    if path is not None:
        write_table(path, list(session.config.stash[ROWS].values()))


@pytest.fixture
def seen(record_property):
    """Say in a few words what was measured: it goes into the table."""

    def note(text: str) -> None:
        record_property("seen", text)

    return note


@pytest.fixture
def soak_s(pytestconfig: pytest.Config) -> float:
    return float(pytestconfig.getoption("--soak-s", 120.0))


@pytest.fixture(scope="session")
def second_engine(engine) -> Iterator[PrivateEngine]:
    """An engine that may be killed. Takes a minute to get the image."""
    if reason := private_engine.why_not():
        pytest.skip(reason)
    with PrivateEngine.open() as private:
        yield private


@pytest.fixture
def private_docker(second_engine: PrivateEngine) -> Iterator[PrivateEngine]:
    """The same engine for each test: running, not frozen, without live-restore at the start."""
    second_engine.live_restore = False
    second_engine.start()
    yield second_engine
    second_engine.start()


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    """A Redis of the test's own."""
    with RedisServer() as server:
        yield server
