"""The table, as Markdown that also reads well in a terminal, and the raw samples as JSON."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.benchmarks.figures import OURS, PEERS, Figure, gvisor_figures
from tests.benchmarks.machine import Machine
from tests.benchmarks.samples import Results, Series

METHOD = """\
- **First chart**: from sending `POST /v1/sessions` to holding the complete answer of a cell that
  imports pandas and matplotlib, builds a frame, writes a CSV and shows a plot. A sample counts only
  if the PNG is in the outputs and the CSV's link gives the CSV (fetched outside the timing).
- **Client**: HTTP/1.1 over one kept connection per caller, plain asyncio streams; `http.client` for
  the large file. On the same machine, so its own work is in the figures.
- **Service**: `python -m sandbox_service serve` as a process of its own, over Docker; one with a
  pool of 20 for *pool hit* and *burst*, one without a pool for everything else.
- **Callers at random**: Poisson arrivals, the same times in every run; open, first chart, close, with
  the pool of a fresh install (2, up to 8). What is refused at once (503) is counted in a note.
- **Kernel Gateway**: in a container of the same image, up before the clock starts; a kernel per
  first chart by REST, cells over a websocket to the container's own address. *Fair* acknowledges at
  once (TCP_QUICKACK); *as it comes* waits for delayed ACKs, which Nagle's algorithm turns into
  40 ms. The CSV stays inside.
- **docker run**: the whole script, with `savefig` in place of `show`, into a mounted directory.
- **Raw ipc**: `jupyter_client` and a bare ipykernel, history off, inside one container of the same
  image; until both reply and idle have come.
- The kinds of `print(1)` take turns in rounds. Percentiles are linear between neighbouring samples.
  The peers have no CPU or memory limit; our sandboxes have theirs.
- **PSS**: the sum over all processes of a session, from `smaps_rollup`, one second after its first
  chart; what sessions share is split between those alive.
"""
HEAD = ["figure", "unit", "n", "failed", "p50", "p95", "p99", "× ours", "goals"]


@dataclass(frozen=True, slots=True)
class Run:
    """A finished run, as it is reported."""

    command: str
    machine: Machine
    results: Results
    seconds: float
    troubles: list[str] = field(default_factory=list)


def markdown(run: Run) -> str:
    """The whole report."""
    facts = "\n".join(f"- {what}: {value}" for what, value in run.machine.facts.items())
    parts = [
        f"Made by `{run.command}` in {run.seconds:.0f} s.",
        table(run.results, OURS),
        *_peers(run),
        *_gvisor(run),
        *_notes(run),
        f"### Machine\n\n{facts}",
        f"### Method\n\n{METHOD}",
    ]
    return "\n\n".join(parts)


def table(results: Results, figures: Sequence[Figure]) -> str:
    """Rows of the figures that were measured, columns padded."""
    rows = [HEAD, *(_row(results, f) for f in figures if f.name in results.series)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEAD))]
    lines = [_line(row, widths) for row in rows]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


def samples_json(run: Run) -> str:
    """Every sample, with its unit, in the order measured."""
    units = {figure.name: figure.unit for figure in (*OURS, *PEERS, *gvisor_figures())}
    document = {
        "command": run.command,
        "machine": run.machine.facts,
        "figures": {
            name: {
                "unit": units[name],
                "samples": [round(sample, 3) for sample in series.samples],
                "failures": series.failures,
                "notes": series.notes,
            }
            for name, series in run.results.series.items()
        },
    }
    return json.dumps(document, indent=None, separators=(",", ":")).replace('"},', '"},\n') + "\n"


def write(run: Run, directory: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    title = "# Benchmarks\n\n![first chart and small cell, ours and the peers'](results.png)\n\n"
    (directory / "RESULTS.md").write_text(title + markdown(run), encoding="utf-8")
    (directory / "samples.json").write_text(samples_json(run), encoding="utf-8")


def _row(results: Results, figure: Figure) -> list[str]:
    series = results[figure.name]
    counts = [figure.title, figure.unit, str(len(series.samples)), str(len(series.failures))]
    if not series.samples:
        return [*counts, "", "", "", "", "not measured"]
    percentiles = [_number(series.percentile(percent)) for percent in (50, 95, 99)]
    return [*counts, *percentiles, _ratio(results, figure), _goals(results, figure, series)]


def _ratio(results: Results, figure: Figure) -> str:
    if figure.beside is None or not results.has(figure.beside):
        return ""
    return f"{results[figure.name].p50 / results[figure.beside].p50:.2f}"


def _goals(results: Results, figure: Figure, series: Series) -> str:
    words = {True: "met", False: "**missed**", None: "not measured"}
    told = [
        f"{goal.describe(figure.unit)}: {words[goal.is_met(series, results)]}"
        for goal in figure.goals
    ]
    return "; ".join(told)


def _number(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _line(row: list[str], widths: list[int]) -> str:
    cells = [
        text.rjust(width) if 2 <= column <= 7 else text.ljust(width)
        for column, (text, width) in enumerate(zip(row, widths, strict=True))
    ]
    return "| " + " | ".join(cells) + " |"


def _peers(run: Run) -> list[str]:
    measured = any(figure.name in run.results.series for figure in PEERS)
    return ["Instead of it, in the same run:", table(run.results, PEERS)] if measured else []


def _gvisor(run: Run) -> list[str]:
    if "runsc" not in run.machine.runtimes:
        return ["gVisor: the engine has no runtime `runsc`; its table was not measured."]
    measured = any(figure.name in run.results.series for figure in gvisor_figures())
    return ["On gVisor:", table(run.results, gvisor_figures())] if measured else []


def _notes(run: Run) -> list[str]:
    figures = {figure.name: figure.title for figure in (*OURS, *PEERS, *gvisor_figures())}
    lines = [
        f"- {figures[name]}: {note}"
        for name, series in run.results.series.items()
        for note in (*series.notes, *(f"failed: {reason}" for reason in series.failures[:5]))
    ]
    lines += [f"- {trouble}" for trouble in run.troubles]
    return ["### Notes\n\n" + "\n".join(lines)] if lines else []
