"""The examples, run as their readers would run them, against the scripted model and a real sandbox."""

import csv
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import openpyxl

from tests.support.service import ServiceProcess

ROOT = Path(__file__).parents[2]


def started(service: ServiceProcess, name: str, directory: Path) -> "subprocess.Popen[str]":
    inherited = {
        variable: value
        for variable, value in os.environ.items()
        if not variable.startswith(("SANDBOX_", "OPENAI_", "RUNNER_"))
    }
    own = {"SANDBOX_URL": service.url, "SANDBOX_API_KEY": service.key, "PYTHONPATH": str(ROOT)}
    options: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(
        [sys.executable, "-m", f"runner.examples.{name}"],
        env={**inherited, **own},
        cwd=directory,
        **options,
    )


def run(service: ServiceProcess, name: str, directory: Path) -> str:
    """What the example prints; it must end well."""
    with started(service, name, directory) as process:
        printed, errors = process.communicate(timeout=90)
    assert process.returncode == 0, errors
    assert errors == ""
    return printed


def test_a_spreadsheet_is_analysed(service: ServiceProcess, tmp_path: Path) -> None:
    """The region that the workbook's numbers give, and a chart."""
    printed = run(service, "analyse_spreadsheet", tmp_path)
    amounts, targets = sales()
    missed = {name: targets[name] - sold for name, sold in amounts.items() if sold < targets[name]}
    (region,) = missed
    assert f"**{region}** misses its target by {missed[region]:,.0f};" in printed
    chart = tmp_path / "results" / "sales-against-target.png"
    assert chart.read_bytes().startswith(b"\x89PNG")


def sales() -> tuple[dict[str, float], dict[str, float]]:
    """Amounts and targets by region, reckoned here."""
    book = openpyxl.load_workbook(ROOT / "runner/examples/data/sales.xlsx")
    amounts: dict[str, float] = {}
    for _, region, _, units, price in list(book["orders"].values)[1:]:
        amounts[region] = amounts.get(region, 0) + units * price
    return amounts, dict(list(book["targets"].values)[1:])


def test_a_csv_is_cleaned_and_returned(service: ServiceProcess, tmp_path: Path) -> None:
    """One row per person; what cannot be read is empty."""
    printed = run(service, "clean_csv", tmp_path)
    table = printed[printed.index("name,email,joined,city") :]
    rows = list(csv.DictReader(table.strip().splitlines()))
    assert [row["name"] for row in rows] == [
        "Ada Lovelace", "Grace Hopper", "Alan Turing", "Edsger Dijkstra", "Barbara Liskov",
        "Donald Knuth", "Katherine Johnson", "Tim Berners-Lee",
    ]  # fmt: skip
    assert rows[0] == {
        "name": "Ada Lovelace",
        "email": "ada@example.org",
        "joined": "2024-03-01",
        "city": "London",
    }
    assert rows[4]["joined"] == "2023-12-24"
    assert [row["name"] for row in rows if not row["email"]] == ["Alan Turing", "Edsger Dijkstra"]
    assert "contacts-clean.csv](http" in printed, "the link opens"


def test_the_model_mends_its_own_error(service: ServiceProcess, tmp_path: Path) -> None:
    """An error, a second call, the number."""
    printed = run(service, "fix_own_error", tmp_path)
    assert "ended: error, NameError: name 'totl' is not defined" in printed
    assert printed.endswith("ended: ok\n\nThe total is 5050. (3 steps)\n")


def test_several_files_become_one_workbook(service: ServiceProcess, tmp_path: Path) -> None:
    """Both calls of one reply, in their order; the cost by the price that was given."""
    printed = run(service, "several_files", tmp_path)
    assert "3 files, 252 readings, without a room: 0" in printed
    assert "The server room needs most" in printed
    assert "cost 0.00" in printed
    book = openpyxl.load_workbook(tmp_path / "results" / "energy.xlsx")
    assert book.sheetnames == ["by month", "readings"]


def test_a_long_computation_is_seen_as_it_goes_on(service: ServiceProcess, tmp_path: Path) -> None:
    """Each step of the computation is told, before the answer."""
    with started(service, "long_computation", tmp_path) as process:
        assert process.stdout is not None
        seen = list(process.stdout)
        assert process.wait(60) == 0
    assert len([line for line in seen if " of 12: pi is about 3.1" in line]) == 12
    assert seen[-1].startswith("Pi is about 3.14")
