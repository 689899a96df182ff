"""tqdm's bar for notebooks, as text: what shows a cell's output here has no widgets.

Takes the place of `tqdm.notebook`; without the names of ipywidgets in it, `tqdm.auto` chooses text by itself.
"""

from typing import Any

from .std import tqdm as std_tqdm

__all__ = ["tnrange", "tqdm", "tqdm_notebook", "trange"]


class tqdm_notebook(std_tqdm):
    """The bar of `tqdm.tqdm`, with the arguments of the one for notebooks."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.pop("display", None)
        if isinstance(kwargs.get("ncols"), str):  # "100%" is a width on a page
            kwargs["ncols"] = None
        super().__init__(*args, **kwargs)

    def __repr__(self) -> str:
        return str(self)

    @property
    def container(self) -> "tqdm_notebook":
        """What is shown."""
        return self


def tnrange(*args: int, **kwargs: Any) -> tqdm_notebook:
    """A bar over `range(*args)`."""
    return tqdm_notebook(range(*args), **kwargs)


tqdm = tqdm_notebook
trange = tnrange
