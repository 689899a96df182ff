"""Open figures are shown whatever backend code chose; there is no screen on which another could."""

from typing import Any

_INLINE = "module://matplotlib_inline.backend_inline"


def show_figures_of_every_backend(shell: Any) -> None:
    """Make `plt.show()`, and the end of a cell, show what is open also under `Agg` or `TkAgg`."""
    try:
        from matplotlib import pyplot
        from matplotlib.backend_bases import FigureManagerBase
        from matplotlib_inline import backend_inline
    except ImportError:
        return

    def show(cls: type, *, block: bool | None = None) -> None:
        backend_inline.show()

    def show_open() -> None:
        if pyplot.get_backend() not in ("inline", _INLINE) and pyplot.get_fignums():
            backend_inline.show(close=True)

    FigureManagerBase.pyplot_show = classmethod(show)  # type: ignore[assignment, method-assign]
    pyplot.switch_backend = _without_a_screen(pyplot.switch_backend)
    shell.events.register("post_execute", show_open)


def _without_a_screen(switch: Any) -> Any:
    from matplotlib.backends import BackendFilter, backend_registry

    interactive = {
        name.lower() for name in backend_registry.list_builtin(BackendFilter.INTERACTIVE)
    }

    def switch_backend(newbackend: Any) -> None:
        """Switch the backend; what needs a screen is shown inline."""
        switch(_INLINE if str(newbackend).lower() in interactive else newbackend)

    return switch_backend
