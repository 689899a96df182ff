"""What is paid once in the zygote so that the first cell of a kernel pays nothing."""

import contextlib
import ctypes
import gc
import importlib
import importlib.util
import linecache
import os
import sys
from typing import Any

from IPython.utils.capture import capture_output

PRELOAD = "numpy,pandas,matplotlib.pyplot"

_TABLE = """
import io, pandas as pd
frame = pd.DataFrame({"day": pd.date_range("2024-01-01", periods=9), "group": list("aab") * 3,
                      "value": [float(n) for n in range(9)]})
text = io.StringIO()
frame.groupby("group")["value"].mean().to_csv(text)
frame.to_csv(text, index=False)
pd.read_csv(io.StringIO(frame.to_csv(index=False)), parse_dates=["day"]).describe()
frame.head()
"""

_FIGURE = """
import matplotlib.pyplot as plt
figure, axes = plt.subplots()
axes.plot([1, 2, 3], [2, 4, 1], label="warm")
axes.bar(["a", "b"], [1, 2])
axes.set(title="Warm", xlabel="x", ylabel="y")
axes.legend()
plt.tight_layout()
plt.show()
"""


def preload() -> None:
    """Import what `SANDBOX_ZYGOTE_PRELOAD` names; what is not installed is left out."""
    for name in os.environ.pop("SANDBOX_ZYGOTE_PRELOAD", PRELOAD).split(","):
        try:
            importlib.import_module(name.strip())
        except ImportError:
            continue


def warm(shell: Any) -> None:
    """Run throw-away cells in the shell, then wipe their traces."""
    names = set(shell.user_ns)
    for code, needed in ((_TABLE, "pandas"), (_FIGURE, "matplotlib")):
        if importlib.util.find_spec(needed):
            with capture_output():
                shell.run_cell(code, silent=True, store_history=False)
    _wipe(shell, names)


def _wipe(shell: Any, names: set[str]) -> None:
    for name in set(shell.user_ns) - names:
        del shell.user_ns[name]
    shell.user_ns_hidden.pop("_", None)
    shell.compile._filename_map.clear()
    linecache.clearcache()
    _close_fonts()


def touch_fonts() -> None:
    """Draw text again, in a child: matplotlib closes its fonts at a fork, and a chart needs them."""
    if "matplotlib.pyplot" in sys.modules:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        figure = Figure(figsize=(1, 1))
        figure.subplots().set(title="Aa", xlabel="Bb")
        FigureCanvasAgg(figure).draw()


def give_back_memory() -> None:
    """Return what imports and warming have freed to the system: every kernel would carry it."""
    gc.collect()
    with contextlib.suppress(AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def _close_fonts() -> None:
    """Font files stay open while cached; a child must not inherit their descriptors."""
    from matplotlib import font_manager

    font_manager._get_font.cache_clear()  # type: ignore[attr-defined]
