"""How what user code writes reaches the iopub channel: soon, whole, and without a network."""

import codecs
import os
from typing import Any

import zmq
from ipykernel.iostream import IOPubThread, OutStream
from zmq.eventloop.zmqstream import ZMQStream

_READ_BYTES = 65536
_HELD_CHARS = 1 << 20
_PIECE_CHARS = 16 << 20


class KernelOutStream(OutStream):
    """Flushes within 10 ms, and reads the redirected descriptor in large pieces.

    The pieces are decoded incrementally, so that a character cut in two by a read stays whole, and
    are not copied to the container's log. Whoever writes faster than it is sent waits: text without
    end is then an endless cell, and not one that dies of its own output.
    """

    flush_interval = 0.01
    _held_chars = 0

    def fileno(self) -> int:
        """The watched descriptor, so that `subprocess.run(..., stdout=sys.stdout)` is seen."""
        return int(self._original_stdstream_fd)

    def flush(self) -> None:
        """Send what was written; with nothing written there is no need to wake the thread."""
        if self._buffers:
            super().flush()

    def write(self, string: str) -> int:
        """Take the text, a huge one in pieces; wait for it to be sent when much is held already."""
        for start in range(0, len(string), _PIECE_CHARS):
            super().write(string[start : start + _PIECE_CHARS])
            self._held_chars += min(len(string) - start, _PIECE_CHARS)
            if self._held_chars > _HELD_CHARS:
                self._held_chars = 0
                self.flush()
        return len(string)

    def _watch_pipe_fd(self) -> None:
        decode = codecs.getincrementaldecoder("utf-8")(errors="replace").decode
        descriptor: int = self._fid  # type: ignore[assignment]
        while self._should_watch and (piece := os.read(descriptor, _READ_BYTES)):
            if text := decode(piece):
                self.write(text)


class KernelIOPubThread(IOPubThread):
    """Collects the output of forked processes over ipc: a sandbox may have no network at all."""

    def __init__(self, socket: "zmq.Socket[Any]", session: Any, pipe_path: str) -> None:
        self._pipe_address = f"ipc://{pipe_path}"
        super().__init__(socket, pipe=True, session=session)

    def _setup_pipe_in(self) -> None:
        self._pipe_uuid = os.urandom(16)
        pipe_in = self.socket.context.socket(zmq.PULL)
        pipe_in.linger = 0
        pipe_in.bind(self._pipe_address)
        self._pipe_in = ZMQStream(pipe_in, self.io_loop)
        self._pipe_in.on_recv(self._handle_pipe_msg)

    def _setup_pipe_out(self) -> "tuple[zmq.Context[Any], zmq.Socket[Any]]":
        context: zmq.Context[Any] = zmq.Context()
        pipe_out = context.socket(zmq.PUSH)
        pipe_out.linger = 3000
        pipe_out.connect(self._pipe_address)
        return context, pipe_out
