"""From a fork of the zygote to a kernel: what is shed, what is made fresh, and its life."""

import atexit
import contextlib
import json
import os
import signal
import socket
import traceback
from typing import Any, NoReturn

from zygote.app import ForkedKernelApp
from zygote.generators import RandomGenerators
from zygote.warm import touch_fonts

_OOM_SCORE = "1000"


def become_kernel(
    app: ForkedKernelApp,
    generators: RandomGenerators,
    agent: socket.socket,
    request: dict[str, Any],
) -> NoReturn:
    """Serve as the kernel whose sockets are in `request["dir"]`; ends the process."""
    code = 1
    try:
        line = _shed(agent)
        generators.reseed()
        _die_first()
        _open_line(app, line, request)
        touch_fonts()
        app.start()
        code = 0
        atexit._run_exitfuncs()
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 1
    finally:
        os._exit(code)


def _open_line(app: ForkedKernelApp, line: socket.socket, request: dict[str, Any]) -> None:
    """Bind the kernel's sockets and tell the agent so, or why not."""
    try:
        app.bind(request["dir"])
        packet = {"serving": request["fork"], "pid": os.getpid()}
    except Exception:
        packet = {"failed": request["fork"], "message": traceback.format_exc()[-4000:]}
        raise
    finally:
        line.send(json.dumps(packet).encode())
        line.close()


def _shed(agent: socket.socket) -> socket.socket:
    """Leave the zygote's session, signals and descriptors; returns the line, the one kept."""
    os.setsid()
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGCHLD, signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    line = agent.detach()
    for fd in map(int, os.listdir("/proc/self/fd")):
        if fd > 2 and fd != line:
            with contextlib.suppress(OSError):
                os.close(fd)
    with open(os.devnull, "r+b", buffering=0) as null:
        for fd in (0, 1, 2):
            os.dup2(null.fileno(), fd)
    return socket.socket(fileno=line)


def _die_first() -> None:
    """When memory runs out the kernel dies, not the agent or the zygote."""
    try:
        with open("/proc/self/oom_score_adj", "w") as score:
            score.write(_OOM_SCORE)
    except OSError:
        return
