"""The two sockets to a kernel: requests and replies (shell), and what it publishes (iopub)."""

import asyncio
from collections.abc import Callable
from typing import Protocol

import zmq

from agent import wire

_BATCH = 200
_PARTS = 4
_MESSAGES_AHEAD = 50


class Channel:
    """A zmq socket on the event loop: read in bounded batches, never polled."""

    def __init__(
        self, socket: "zmq.Socket[bytes]", deliver: Callable[[wire.Message], None]
    ) -> None:
        self._socket = socket
        self._deliver = deliver
        self._loop = asyncio.get_running_loop()
        self._fd: int = socket.fileno()
        self._scheduled: asyncio.Handle | None = None
        self._loop.add_reader(self._fd, self.drain)
        self._schedule()  # what came before the descriptor was watched announces itself no more

    def send(self, frames: list[bytes]) -> None:
        self._socket.send_multipart(frames)
        self._schedule()  # sending may have consumed the edge that announced a message

    def drain(self) -> int:
        """Deliver what has arrived, at most one batch; the rest follows in the next loop turn."""
        self._scheduled = None
        if self._socket.closed:
            return 0
        for count in range(_BATCH):
            try:
                message = _receive(self._socket)
            except zmq.Again:
                return count
            if message is not None:
                self._deliver(message)
        self._schedule()
        return _BATCH

    def close(self) -> None:
        self._loop.remove_reader(self._fd)
        if self._scheduled is not None:
            self._scheduled.cancel()
        self._socket.close(linger=0)

    def _schedule(self) -> None:
        if self._scheduled is None:
            self._scheduled = self._loop.call_soon(self.drain)


def _receive(socket: "zmq.Socket[bytes]") -> wire.Message | None:
    """One message, or None for what is not one. Raises zmq.Again when there is none."""
    frame = socket.recv(zmq.NOBLOCK)
    while frame != wire.DELIMITER and socket.getsockopt(zmq.RCVMORE):
        frame = socket.recv()
    parts = socket.recv_multipart() if socket.getsockopt(zmq.RCVMORE) else []
    return wire.parse(*parts[1 : 1 + _PARTS]) if len(parts) > _PARTS else None


class Receiver(Protocol):
    """Whom a kernel's messages are for."""

    def on_iopub(self, message: wire.Message) -> None: ...

    def on_shell(self, message: wire.Message) -> None: ...


class KernelChannels:
    """The line to one kernel. `welcomed` is done when its publications reach us.

    Another `receiver` can be set at any time; a second line would not do: the kernel may miss its
    subscription, and an idle kernel publishes nothing that would show the difference.
    """

    def __init__(self, directory: str, receiver: Receiver) -> None:
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context.instance()
        self.receiver = receiver
        self.welcomed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._iopub = Channel(self._subscribe(f"ipc://{directory}/k-iopub"), self._published)
        self._shell = Channel(self._dial(f"ipc://{directory}/k-shell"), self._replied)

    def request(self, msg_type: str, msg_id: str, content: dict[str, object]) -> None:
        self._shell.send(wire.request(msg_type, msg_id, content))

    async def drain(self, quiet_s: float) -> None:
        """Deliver what a dead kernel still had under way, until nothing has come for `quiet_s`."""
        await asyncio.sleep(quiet_s)
        # Nothing tells that no more will come, so there is no event to wait for.
        while self._iopub.drain() + self._shell.drain():  # noqa: ASYNC110
            await asyncio.sleep(quiet_s)

    def close(self) -> None:
        self._iopub.close()
        self._shell.close()

    def _published(self, message: wire.Message) -> None:
        # Any message will do: ipykernel misses a subscription that arrives as it publishes.
        if not self.welcomed.done():
            self.welcomed.set_result(None)
        if message.parent_id:
            self.receiver.on_iopub(message)

    def _replied(self, message: wire.Message) -> None:
        self.receiver.on_shell(message)

    def _subscribe(self, address: str) -> "zmq.Socket[bytes]":
        socket = self._context.socket(zmq.SUB)
        socket.rcvhwm = _MESSAGES_AHEAD
        socket.subscribe(b"")
        socket.connect(address)
        return socket

    def _dial(self, address: str) -> "zmq.Socket[bytes]":
        socket = self._context.socket(zmq.DEALER)
        socket.connect(address)
        return socket
