"""What a kernel and its children write, in one order, on its way to the cell that runs.

Text comes in on two ways: through `sys.stdout` and `sys.stderr`, and through descriptors 1 and 2, which are
pipes. Before text of the first kind is taken, and before a cell is told to be over, the pipes are read
empty: what was written earlier is sent earlier. Between two cells text waits for the next one.
"""

import codecs
import contextlib
import ctypes
import fcntl
import itertools
import os
import select
import struct
import termios
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ipykernel.iostream import IOPubThread

_SOON_S = 0.01
_AHEAD_CHARS = 1 << 20
_BETWEEN_CELLS_CHARS = 1 << 16
_LOOK_S = 1.0
_LINE_BUFFERED = 1
_LEFT_OUT = "[... earlier output of the background is left out ...]\n"


class Pipe:
    """A descriptor of ours that children and C libraries write to, as text of the stream `name`.

    The text is decoded incrementally: a character cut in two by a read stays whole.
    """

    def __init__(self, name: str, descriptor: int) -> None:
        self.name = name
        self.reader, writer = os.pipe()
        os.set_blocking(self.reader, False)
        os.dup2(writer, descriptor)
        os.close(writer)
        self._decode = codecs.getincrementaldecoder("utf-8")(errors="replace").decode

    def read(self) -> str | None:
        """What it holds now, and no more, however fast somebody writes; None at its end."""
        held = fcntl.ioctl(self.reader, termios.FIONREAD, b"\0" * 4)
        with contextlib.suppress(BlockingIOError):
            piece = os.read(self.reader, struct.unpack("i", held)[0] or 1)
            return self._decode(piece) if piece else None
        return ""


@dataclass(frozen=True, slots=True)
class _Piece:
    """Some text of one stream, of the cell whose request has the header `parent`."""

    parent: dict[str, Any]
    name: str
    text: str


class Outlet:
    """Collects text and sends it as `stream` messages of the open cell, soon.

    All is sent by the thread of the socket, in the order in which it was taken. Whoever writes faster
    than it is sent waits: text without end is then an endless cell, and not one that dies of its own
    output. In a forked child nothing is collected: see `is_child`.
    """

    def __init__(self, session: Any, thread: IOPubThread) -> None:
        self.is_child = False
        self._session = session
        self._thread = thread
        self._lock = threading.RLock()  # the text, the open cell, and reading the pipes
        self._pieces: deque[_Piece] = deque()
        self._chars = 0
        self._parent: dict[str, Any] | None = None
        self._between = Backlog()
        self._is_sending_due = False
        self._pipes = {pipe.reader: pipe for pipe in (Pipe("stdout", 1), Pipe("stderr", 2))}
        self._now, self._next = Look(list(self._pipes)), select.poll()
        for reader in self._pipes:
            self._next.register(reader, select.POLLIN)
        self._flush_c = _line_buffered_c_stdout()
        threading.Thread(target=self._watch, name="Outlet", daemon=True).start()

    def open(self, parent: dict[str, Any]) -> None:
        """A cell begins: what is written from now on is its output, and what has waited for one."""
        with self._lock:
            self._parent = parent
            for name, text in self._between.taken():
                self._add(name, text)
        self._send_soon()

    def close(self) -> None:
        """The cell is over: all that was written in it goes before anything that is sent later."""
        self._flush_c()
        with self._lock:
            self._take()
            self._parent = None
        if self._pieces:
            self._thread.schedule(self._send)

    def write(self, name: str, text: str) -> None:
        """Take text of `sys.stdout` or `sys.stderr`, behind what the descriptors have brought."""
        with self._lock:
            self._take()
            self._add(name, text)
        self._send_soon()

    def push(self) -> None:
        """Read the pipes empty and put all on its way, without waiting for it."""
        if self._collect():
            self._thread.schedule(self._send)

    def flush(self) -> None:
        """As `push`, and wait until it is sent; with nothing written there is nothing to wait for."""
        if not self._collect():
            return
        if threading.current_thread() is self._thread.thread:
            self._send()
            return
        sent = threading.Event()
        self._thread.schedule(self._send)
        self._thread.schedule(sent.set)
        while not sent.wait(_LOOK_S) and self._thread.thread.is_alive():
            pass

    def become_child(self) -> None:
        """A fork has all of ours but the threads: it writes to the descriptors instead."""
        self.is_child = True
        self._lock = threading.RLock()
        self._session.pid = os.getpid()

    def send_multipart(self, frames: list[Any], **options: Any) -> None:
        """Send a message from the thread of the socket, now and not behind what is queued for it."""
        self._thread._really_send(frames, **options)

    def _watch(self) -> None:
        """Read what comes while no Python code writes."""
        while self._pipes:
            self._next.poll()
            with self._lock:
                self._take()
            self._send_soon()

    def _collect(self) -> bool:
        """Whether there is anything to send, once the pipes have been read."""
        if self.is_child:
            return False
        self._flush_c()  # without the lock: it may wait until the pipe is read
        with self._lock:
            self._take()
            return bool(self._pieces)

    def _take(self) -> None:
        for reader in self._now.ready():
            text = self._pipes[reader].read()
            if text is None:
                self._now.forget(reader)
                self._next.unregister(reader)
                del self._pipes[reader]
            elif text:
                self._add(self._pipes[reader].name, text)

    def _add(self, name: str, text: str) -> None:
        if self._parent is None:
            self._between.add(name, text)
        else:
            self._pieces.append(_Piece(self._parent, name, text))
            self._chars += len(text)

    def _send_soon(self) -> None:
        if self._chars > _AHEAD_CHARS:
            self.flush()
        elif self._pieces and not self._is_sending_due:
            self._is_sending_due = True
            self._thread.schedule(lambda: self._thread.io_loop.call_later(_SOON_S, self._send))

    def _send(self) -> None:
        """Send, in the thread of the socket, one message for each run of one stream."""
        with self._lock:
            self._is_sending_due = False
            pieces, self._pieces, self._chars = self._pieces, deque(), 0
        for (_, name), run in itertools.groupby(pieces, key=_stream_of):
            texts = list(run)
            content = {"name": name, "text": "".join(piece.text for piece in texts)}
            message = self._session.msg("stream", content, parent=texts[0].parent)
            self._session.send(self, message, ident=b"stream." + name.encode())


class _PollFd(ctypes.Structure):
    _fields_ = (
        ("fd", ctypes.c_int),
        ("events", ctypes.c_short),
        ("revents", ctypes.c_short),
    )


class Look:
    """A look at descriptors that keeps the interpreter's lock: giving it away costs a cell milliseconds."""

    def __init__(self, descriptors: list[int]) -> None:
        self._poll = ctypes.PyDLL(None).poll
        watched = [_PollFd(descriptor, select.POLLIN, 0) for descriptor in descriptors]
        self._watched = (_PollFd * len(watched))(*watched)

    def ready(self) -> list[int]:
        if self._poll(self._watched, len(self._watched), 0) <= 0:
            return []
        return [one.fd for one in self._watched if one.revents]

    def forget(self, descriptor: int) -> None:
        for one in self._watched:
            if one.fd == descriptor:
                one.fd = -1


class Backlog:
    """The latest text from between two cells."""

    def __init__(self) -> None:
        self._pieces: deque[tuple[str, str]] = deque()
        self._chars = 0
        self._has_lost = False

    def add(self, name: str, text: str) -> None:
        self._has_lost |= len(text) > _BETWEEN_CELLS_CHARS
        self._pieces.append((name, text[-_BETWEEN_CELLS_CHARS:]))
        self._chars += len(self._pieces[-1][1])
        while self._chars > _BETWEEN_CELLS_CHARS:
            self._chars -= len(self._pieces.popleft()[1])
            self._has_lost = True

    def taken(self) -> list[tuple[str, str]]:
        """All of it, with a word about what is no more; nothing is left."""
        pieces = [("stderr", _LEFT_OUT)] if self._has_lost else []
        pieces += self._pieces
        self._pieces.clear()
        self._chars, self._has_lost = 0, False
        return pieces


def _stream_of(piece: _Piece) -> tuple[int, str]:
    return id(piece.parent), piece.name


def _line_buffered_c_stdout() -> Callable[[], object]:
    """Let what C code prints come line by line; returns what brings the rest of a line."""
    try:
        c = ctypes.CDLL(None)
        stdout = ctypes.c_void_p.in_dll(c, "stdout")
        c.setvbuf(stdout, None, _LINE_BUFFERED, ctypes.c_size_t(0))
        pending = ctypes.PyDLL(None).__fpending
    except (OSError, ValueError, AttributeError):
        return lambda: None
    return lambda: pending(stdout) and c.fflush(stdout)
