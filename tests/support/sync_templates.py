"""The parts that `make_sync` puts together."""

HEADER = '''\
"""The client for programs without an event loop: the same calls, each of which waits for its answer.

Made from the asynchronous classes by `python -m tests.support.make_sync`: change those instead.
"""

from collections.abc import Generator, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self, Unpack

import httpx

from sandbox_service.client.bridge import Bridge
from sandbox_service.client.client import SandboxClient
from sandbox_service.client.events import (
    ArtifactMade,
    Event,
    EventsSkipped,
    ExecutionCompleted,
    ExecutionStarted,
    OutputChanged,
)
from sandbox_service.client.results import Artifact, ExecutionResult, FileInfo, SessionInfo
from sandbox_service.client.retries import Retries
from sandbox_service.client.session import Session, SessionOptions
from sandbox_service.client.uploads import Source
from sandbox_service.domain.ports import Clock

'''

EVENTS = '''
SyncEvent = (
    ExecutionStarted | OutputChanged | SyncArtifactMade | EventsSkipped | SyncExecutionCompleted
)


def sync_event(bridge: Bridge, event: Event) -> SyncEvent:
    """The same event; what it carries can be used without an event loop."""
    match event:
        case ArtifactMade():
            return SyncArtifactMade.of(bridge, event)
        case ExecutionCompleted():
            return SyncExecutionCompleted.of(bridge, event)
    return event

'''

VALUE = """
@dataclass(frozen=True, slots=True)
class Sync{name}({name}):
    {doc}

{fields}

    @classmethod
    def of(cls, bridge: Bridge, value: {name}) -> Self:
        return cls({copied})
"""

FACE = """
class Sync{name}:
    {doc}
{init}
    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
"""

SESSION_INIT = """
    def __init__(self, bridge: Bridge, session: Session) -> None:
        self._bridge = bridge
        self._inner = session

    @classmethod
    def of(cls, bridge: Bridge, session: Session) -> Self:
        return cls(bridge, session)
"""

CLIENT_INIT = """
    def __init__({arguments}) -> None:
        self._bridge = Bridge()
        self._inner = SandboxClient({forwarded})
"""

CLIENT_CLOSE = """
    def close(self) -> None:
        {doc}
        self._bridge.close(self._inner.close())
"""

PROPERTY = """
    @property
    def {name}(self) -> {result}:
        return self._inner.{name}
"""

PLAIN = """
    def {name}({arguments}) -> {result}:{remark}
        {doc}
        return {answer}
"""

SILENT = """
    def {name}({arguments}) -> None:{remark}
        {doc}
        {answer}
"""

ITERATED = """
    def {name}({arguments}) -> Generator[{result}]:
        {doc}
        with closing(self._bridge.iterate({inner})) as items:
            for item in items:
                yield {item}
"""

ENTERED = """
    @contextmanager
    def {name}({arguments}) -> Iterator[{result}]:
        {doc}
        with self._bridge.entered({inner}) as value:
            yield {value}
"""
