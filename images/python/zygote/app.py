"""ipykernel's application, cut in two: what can be done before the fork, and what must come after.

Before: configuration, the shell with its magics, extensions and the inline backend. After: sockets,
threads, the session and the kernel object, which picks up the shell that is already there.
"""

import os
import sys
from typing import Any

sys.modules["debugpy"] = None  # type: ignore[assignment]  # the debugger is not offered; it costs 20 MB
import ipykernel.debugger  # noqa: E402, F401

del sys.modules["debugpy"]
import zmq  # noqa: E402
from ipykernel.compiler import XCachingCompiler  # noqa: E402
from ipykernel.control import ControlThread  # noqa: E402
from ipykernel.kernelapp import IPKernelApp  # noqa: E402
from ipykernel.shellchannel import ShellChannelThread  # noqa: E402
from IPython.core.application import BaseIPythonApplication  # noqa: E402
from tornado.ioloop import IOLoop  # noqa: E402
from traitlets.config import Config  # noqa: E402
from zmq.eventloop.zmqstream import ZMQStream  # noqa: E402

from zygote.figures import show_figures_of_every_backend  # noqa: E402
from zygote.history import ForgottenOutputs  # noqa: E402
from zygote.kernel import CellKernel  # noqa: E402
from zygote.loops import let_scripts_run_loops  # noqa: E402
from zygote.outlet import Outlet  # noqa: E402
from zygote.shell import SandboxShell  # noqa: E402
from zygote.streams import KernelIOPubThread, StandardStream  # noqa: E402
from zygote.text import pack  # noqa: E402

_MESSAGES_AHEAD = 50
_CHILDREN = os.path.join(os.path.dirname(os.path.abspath(__file__)), "children")


def kernel_config() -> Config:
    """No history, and no pause after each cell: the agent waits for idle, so it needs none."""
    config = Config()
    config.Application.log_level = "ERROR"  # a warning of the kernel's own is no output of a cell's
    config.HistoryManager.enabled = False
    config.CellKernel._execute_sleep = 0.0
    config.InlineBackend.figure_formats = {"png"}
    return config


class ForkedKernelApp(IPKernelApp):
    """`prepare` in the zygote; `bind`, then `start`, in the child."""

    def prepare(self) -> None:
        """Make all that needs no thread, socket or process id."""
        os.environ["PYTHONPATH"] = _CHILDREN
        os.environ["MPLBACKEND"] = "module://matplotlib_inline.backend_inline"
        self.ipython_dir = os.environ.pop("SANDBOX_ZYGOTE_PROFILE")
        self.update_config(kernel_config())
        BaseIPythonApplication.initialize(self, argv=[])
        self.init_pdb()
        self.init_path()
        shell = self.shell = SandboxShell.instance(
            parent=self,
            profile_dir=self.profile_dir,
            user_ns={},
            compiler_class=XCachingCompiler,
        )
        shell.history_manager.outputs = ForgottenOutputs()
        shell.configurables.append(self)  # type: ignore[arg-type]
        self.init_gui_pylab()
        self.init_extensions()

    def warmed(self) -> None:
        """Set right what the preloaded packages do, once they are there."""
        show_figures_of_every_backend(self.shell)

    def bind(self, directory: str) -> None:
        """Open the kernel's sockets in `directory` and make the kernel; `start` then serves."""
        self.transport = "ipc"
        self.ip = os.path.join(directory, "k")
        self.session.key = b""
        self.session.pack = pack
        self.init_sockets()
        self.init_io()
        self.init_signal()
        self.init_kernel()
        self.kernel.shell.kernel = self.kernel
        let_scripts_run_loops(IOLoop.current().asyncio_loop)  # type: ignore[attr-defined]

    def init_sockets(self) -> None:
        """Shell, control, stdin and iopub over ipc; no heartbeat, since the zygote sees exits."""
        self.context = context = zmq.Context()
        self.shell_socket = self._router(context, "shell")
        self.control_socket = self._router(context, "control")
        self.stdin_socket = self._router(context, "stdin")
        self.iopub_socket = context.socket(zmq.XPUB)
        self.iopub_socket.linger = 1000
        # Nothing is dropped: when the agent is behind by so many messages, whoever writes waits.
        self.iopub_socket.sndhwm = _MESSAGES_AHEAD
        self.iopub_socket.xpub_nodrop = True
        self.iopub_socket.bind(f"ipc://{self.ip}-iopub")
        self.configure_tornado_logger()
        self.iopub_thread = KernelIOPubThread(self.iopub_socket, self.session, f"{self.ip}-pipe")
        self.iopub_thread.start()
        self.iopub_socket = self.iopub_thread.background_socket
        self.control_thread = ControlThread(daemon=True)
        self.shell_channel_thread = ShellChannelThread(context, daemon=True)

    def _router(self, context: "zmq.Context[Any]", channel: str) -> "zmq.Socket[Any]":
        router: zmq.Socket[Any] = context.socket(zmq.ROUTER)
        router.linger = 1000
        router.router_handover = 1
        router.bind(f"ipc://{self.ip}-{channel}")
        return router

    def init_io(self) -> None:
        """Send standard output and error, descriptors included, to the iopub channel."""
        self.session.pid = os.getpid()
        outlet = self.outlet = Outlet(self.session, self.iopub_thread)
        stdout = sys.stdout = sys.__stdout__ = StandardStream(outlet, "stdout")  # type: ignore[misc]
        stderr = sys.stderr = sys.__stderr__ = StandardStream(outlet, "stderr")  # type: ignore[misc]
        for one in (outlet, stdout, stderr):
            os.register_at_fork(after_in_child=one.become_child)
        self.outstream_class = None  # type: ignore[assignment]
        super().init_io()

    def init_kernel(self) -> None:
        """Start the channel threads and make the kernel around the shell of the zygote."""
        control = ZMQStream(self.control_socket, self.control_thread.io_loop)
        shell = ZMQStream(self.shell_socket, self.shell_channel_thread.io_loop)
        self.shell_channel_thread.shell_stream = shell
        self.control_thread.start()
        self.shell_channel_thread.start()
        self.kernel = CellKernel.instance(
            parent=self,
            session=self.session,
            control_stream=control,
            shell_stream=shell,
            control_thread=self.control_thread,
            shell_channel_thread=self.shell_channel_thread,
            iopub_thread=self.iopub_thread,
            iopub_socket=self.iopub_socket,
            stdin_socket=self.stdin_socket,
            log=self.log,
            profile_dir=self.profile_dir,
            outlet=self.outlet,
        )
        self.displayhook.get_execution_count = lambda: self.kernel.execution_count
