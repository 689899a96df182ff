"""The picture: the first chart and the small cell, ours beside the peers'."""

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("agg")
import matplotlib.pyplot as plt

from tests.benchmarks.samples import Results

OURS_COLOUR, PEER_COLOUR, TEXT_COLOUR = "#2563a8", "#8b929c", "#333333"
PANELS = {
    "Time to first chart": (
        ("ttfc_hit", "this service, warm pool"),
        ("ttfc_cold", "this service, empty pool"),
        ("ttfc_naive", "docker run python -c"),
        ("ttfc_gateway", "Kernel Gateway"),
    ),
    "print(1), one more cell": (
        ("print_raw", "raw jupyter_client (floor)"),
        ("print_rest", "this service, REST"),
        ("print_gateway", "Kernel Gateway, fair"),
        ("print_gateway_nagle", "Kernel Gateway, as it comes"),
        ("print_naive", "docker run python -c"),
    ),
}
OURS = frozenset({"ttfc_hit", "ttfc_cold", "print_rest"})


def draw(results: Results, path: Path) -> None:
    """A dot at the median, a line to the 99th percentile, on a logarithmic scale."""
    figure, axes = plt.subplots(1, 2, figsize=(12, 3.2), layout="constrained")
    for panel, (title, bars) in zip(axes, PANELS.items(), strict=True):
        measured = [(name, label) for name, label in bars if results.has(name)]
        _draw_panel(panel, title, measured, results)
    figure.savefig(path, dpi=130)
    plt.close(figure)


def _draw_panel(axes: Any, title: str, bars: list[tuple[str, str]], results: Results) -> None:
    for place, (name, _) in enumerate(bars):
        series = results[name]
        median, worst = series.p50, series.percentile(99)
        colour = OURS_COLOUR if name in OURS else PEER_COLOUR
        axes.plot([median, worst], [place, place], color=colour, linewidth=3)
        axes.plot(median, place, "o", color=colour, markersize=10)
        label = f"  {median:.0f} ms" if median >= 10 else f"  {median:.1f} ms"
        axes.text(worst, place, label, va="center", color=TEXT_COLOUR, fontsize=9)
    axes.set_yticks(range(len(bars)), [label for _, label in bars], fontsize=9)
    axes.invert_yaxis()
    axes.grid(axis="x", color="#e6e6e6")
    axes.margins(y=0.12)
    axes.set_xscale("log")
    axes.margins(x=0.18)
    axes.set_title(title, loc="left", fontsize=11, color=TEXT_COLOUR)
    axes.set_xlabel("milliseconds (log); dot: median, line: to p99", fontsize=8)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
