"""What happens to containers, as the engine tells it: out-of-memory kills and exits."""

import asyncio
import logging
import threading
from collections import Counter, OrderedDict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import docker
import requests
from docker.errors import DockerException

from sandbox_service.backends.docker.engine import open_client
from sandbox_service.backends.docker.spec import INSTANCE_LABEL
from sandbox_service.domain.errors import EngineUnavailable

logger = logging.getLogger(__name__)

RECONNECT_S = 0.5
JOIN_S = 2.0
OVERLAP_NS = 10_000_000_000
REMEMBERED = 1000
Event = dict[str, Any]
BREAKS = (EngineUnavailable, DockerException, requests.RequestException, OSError)


class EngineEvents:
    """Counts of out-of-memory kills and exit codes per container, since this was opened.

    Held in the event loop; `EventListener` feeds it from its thread.
    """

    def __init__(self) -> None:
        self._oom_kills: Counter[str] = Counter()
        self._exit_codes: dict[str, int] = {}
        self._seen: frozenset[str] = frozenset()

    def note(self, event: Event) -> None:
        actor = event.get("Actor", {})
        container = str(actor.get("ID", ""))  # engines before 29 say it as `id` too
        match event.get("Action"):
            case "oom":
                self._oom_kills[container] += 1
            case "die":
                attributes = actor.get("Attributes", {})
                self._exit_codes[container] = int(attributes.get("exitCode", -1))

    def oom_kills(self, container: str) -> int:
        return self._oom_kills[container]

    def exit_code(self, container: str) -> int | None:
        """The exit code of a container that was seen to exit."""
        return self._exit_codes.get(container)

    def note_found(self, containers: frozenset[str]) -> None:
        """Forget what the engine had when it was asked before and has no more."""
        for container in self._seen - containers:
            self.forget(container)
        self._seen = containers

    def forget(self, container: str) -> None:
        self._oom_kills.pop(container, None)
        self._exit_codes.pop(container, None)


class EventListener:
    """A thread that listens to the engine's events and comes back after every break.

    After a break it asks for what it missed, from a while before the latest event that it saw: the engine's
    times are not in order. What it has seen already it leaves out.
    """

    def __init__(self, base_url: str | None, instance: str, note: Callable[[Event], None]) -> None:
        self._base_url = base_url
        self._filters = {
            "type": "container",
            "event": ["oom", "die"],
            "label": f"{INSTANCE_LABEL}={instance}",
        }
        self._note = note
        self._last_ns = 0
        self._seen: OrderedDict[str, None] = OrderedDict()
        self._closing = threading.Event()
        self._listening = threading.Event()
        self._lock = threading.Lock()  # protects _stream, which _close cuts
        self._stream: Any = None
        self._thread = threading.Thread(target=self._listen, name="engine-events", daemon=True)

    @classmethod
    @asynccontextmanager
    async def open(cls, base_url: str | None, instance: str) -> AsyncIterator[EngineEvents]:
        """The counts, kept up to date while the context is open."""
        loop = asyncio.get_running_loop()
        events = EngineEvents()

        def note(event: Event) -> None:
            with suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(events.note, event)

        listener = cls(base_url, instance, note)
        listener._thread.start()
        try:
            await asyncio.to_thread(listener._listening.wait, JOIN_S)
            yield events
        finally:
            await asyncio.to_thread(listener._close)

    def _listen(self) -> None:
        while not self._closing.is_set():
            try:
                self._follow()
            except BREAKS as error:
                logger.warning("engine_events_broken error=%s", type(error).__name__)
            except Exception:
                logger.exception("engine_events_failed")
            self._closing.wait(RECONNECT_S)

    def _follow(self) -> None:
        client = open_client(self._base_url, timeout_s=10)
        try:
            stream = self._subscribe(client)
            self._listening.set()
            for event in stream:
                self._take(event)
        finally:
            client.close()

    def _subscribe(self, client: docker.APIClient) -> Any:
        since: Any = _timestamp(self._last_ns - OVERLAP_NS) if self._last_ns else None
        stream = client.events(since=since, filters=self._filters, decode=True)
        with self._lock:
            self._stream = stream
            if self._closing.is_set():
                stream.close()
        return stream

    def _take(self, event: Event) -> None:
        identity = repr([event.get(part) for part in ("timeNano", "Action", "id", "Actor")])
        if identity in self._seen:
            return
        self._seen[identity] = None
        if len(self._seen) > REMEMBERED:
            self._seen.popitem(last=False)
        self._last_ns = max(self._last_ns, int(event.get("timeNano", 0)))
        self._note(event)

    def _close(self) -> None:
        self._closing.set()
        with self._lock:
            if self._stream is not None:
                with suppress(OSError, AttributeError):  # already closed by the engine
                    self._stream.close()
        self._thread.join(JOIN_S)


def _timestamp(time_ns: int) -> str:
    """Seconds with nine decimals, as the engine takes them."""
    return f"{time_ns // 1_000_000_000}.{time_ns % 1_000_000_000:09d}"
