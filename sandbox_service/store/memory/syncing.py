"""Brings a log's lines to the disk off the event loop, many with one call."""

import os
import threading
from collections.abc import Callable

PAUSE_S = 0.1


class Syncer:
    """A thread, begun with the first line, that syncs at most once every PAUSE_S."""

    def __init__(
        self, on_failure: Callable[[OSError], None], sync: Callable[[int], None] = os.fdatasync
    ) -> None:
        self._on_failure = on_failure
        self._sync = sync
        self._wanted = threading.Event()
        self._closing = threading.Event()
        self._lock = threading.Lock()  # protects _file
        self._file = -1
        self._thread: threading.Thread | None = None

    def want(self, file: int) -> None:
        """This descriptor has something new, in place of one that was given before."""
        if self._wanted.is_set() and file == self._file:
            return
        with self._lock:
            self._file = file
        self._wanted.set()
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="store-log", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Sync what is left."""
        self._closing.set()
        self._wanted.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while not self._closing.is_set():
            self._wanted.wait()
            self._wanted.clear()
            self._sync_once()
            self._closing.wait(PAUSE_S)
        self._sync_once()

    def _sync_once(self) -> None:
        """On a descriptor of our own: the log may close its one at any time."""
        try:
            with self._lock:
                file = os.dup(self._file)
            try:
                self._sync(file)
            finally:
                os.close(file)
        except OSError as error:
            self._on_failure(error)
