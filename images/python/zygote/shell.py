"""IPython's shell as user code meets it here: the ways out of a cell, and what a cell may begin with."""

import os
import sys
import warnings
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NoReturn

from ipykernel.zmqshell import ZMQInteractiveShell
from IPython.core.autocall import ZMQExitAutocall
from traitlets import default

_BYTE_ORDER_MARK = "\ufeff"
_NOT_OF_THE_CELL = ("To exit: use", "This process .* is multi-threaded, use of fork")


class _CellExit(ZMQExitAutocall):
    """`exit`, `exit()`, `quit(3)`: end the cell as `sys.exit` does; the kernel and its state stay."""

    def __call__(self, code: object = None) -> NoReturn:
        raise SystemExit(code)


class SandboxShell(ZMQInteractiveShell):
    """Ends a cell, and a forked copy of one, where its code ends."""

    @default("exiter")
    def _cell_exit(self) -> _CellExit:
        return _CellExit(self)

    def init_builtins(self) -> None:
        super().init_builtins()
        for name in ("exit", "quit"):
            self.builtin_trap.auto_builtins[name] = self.exiter
        self.input_transformers_cleanup.insert(0, _without_byte_order_mark)
        for text in _NOT_OF_THE_CELL:
            warnings.filterwarnings("ignore", message=text)

    def _tee(self, channel: str) -> AbstractContextManager[None]:
        """IPython would write down for its history all that is printed; it has been sent, and may be much."""
        return nullcontext()

    async def run_ast_nodes(self, *args: Any, **options: Any) -> bool:
        """Run the cell. A child that it forked and did not end ends here, not as a second kernel."""
        pid = os.getpid()
        has_failed = bool(await super().run_ast_nodes(*args, **options))
        if os.getpid() != pid:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(int(has_failed))
        return has_failed

    def _showtraceback(self, etype: type, evalue: BaseException, stb: list[str]) -> None:
        """An error of the cell; that of a forked child is text that it prints."""
        if self.kernel is not None and self.kernel.outlet.is_child:
            sys.stderr.write("\n".join(stb) + "\n")
        else:
            super()._showtraceback(etype, evalue, stb)


def _without_byte_order_mark(lines: list[str]) -> list[str]:
    """As Python reads a file: editors of some systems begin one with a mark."""
    return [lines[0].removeprefix(_BYTE_ORDER_MARK), *lines[1:]] if lines else lines
