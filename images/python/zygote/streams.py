"""`sys.stdout` and `sys.stderr` of a kernel, and the thread that publishes: without a network."""

import codecs
import io
import os
from typing import Any

import zmq
from ipykernel.iostream import IOPubThread
from zmq.eventloop.zmqstream import ZMQStream

from zygote.outlet import Outlet
from zygote.text import WHOLE

_DESCRIPTORS = {"stdout": 1, "stderr": 2}
_ERRORS = {"stdout": WHOLE, "stderr": "backslashreplace"}
_PIECE_BYTES = 16 << 20


class _Sink(io.BufferedIOBase):
    """The bytes below a standard stream. It cannot be closed: the next cell prints too."""

    mode = "wb"
    closed = False  # type: ignore[assignment]

    def __init__(self, outlet: Outlet, name: str) -> None:
        self.name = f"<{name}>"
        self._outlet = outlet
        self._stream = name
        self._decode = codecs.getincrementaldecoder("utf-8")(errors="replace").decode

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        """The watched descriptor, so that `subprocess.run(..., stdout=sys.stdout)` is seen."""
        return _DESCRIPTORS[self._stream]

    def close(self) -> None:
        self.flush()

    def flush(self) -> None:
        self._outlet.flush()

    def write(self, data: Any) -> int:
        """Take bytes, very many in pieces."""
        view = memoryview(data).cast("B")
        for start in range(0, len(view), _PIECE_BYTES):
            piece = view[start : start + _PIECE_BYTES]
            if self._outlet.is_child:
                _write_whole(self.fileno(), piece)
            elif text := self._decode(piece):
                self._outlet.write(self._stream, text)
        return len(view)


class StandardStream(io.TextIOWrapper):
    """What Python has, down to `buffer` and `reconfigure`; a forked child's is line-buffered."""

    def __init__(self, outlet: Outlet, name: str) -> None:
        super().__init__(
            _Sink(outlet, name),  # type: ignore[arg-type]
            encoding="utf-8",
            errors=_ERRORS[name],
            newline="\n",
            write_through=True,
        )
        self.mode = "w"

    def detach(self) -> Any:
        """The bytes below; the stream goes on, since the kernel needs it."""
        self.flush()
        return self.buffer

    def reconfigure(self, *, errors: str | None = None, **options: Any) -> None:
        """As ever, but another encoding does not make a lone surrogate an error."""
        super().reconfigure(errors=errors or self.errors, **options)

    def become_child(self) -> None:
        self.reconfigure(line_buffering=True, write_through=False)


def _write_whole(descriptor: int, view: memoryview) -> None:
    while view:
        view = view[os.write(descriptor, view) :]


class KernelIOPubThread(IOPubThread):
    """Collects the displays of forked processes over ipc: a sandbox may have no network at all."""

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
