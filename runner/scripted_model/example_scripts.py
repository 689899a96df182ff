"""Scripts for the examples: looking at what is there, working on it, quoting what was printed."""

import re

from runner.scripted_model import example_cells as cells
from runner.scripted_model.scripts import SCRIPTS, ScriptedReply, Turn, says
from runner.scripted_model.transcript import Transcript


def quotes(pattern: str, answer: str) -> Turn:
    """A turn that answers with what the code printed: the groups of `pattern` in its result."""

    def turn(transcript: Transcript) -> ScriptedReply:
        found = re.search(pattern, transcript.last_result, re.DOTALL)
        if found is None:
            return ScriptedReply(f"That is not what I looked for: {transcript.last_result}")
        return ScriptedReply(answer.format(*found.groups()))

    return turn


EXAMPLE_SCRIPTS: dict[str, tuple[Turn, ...]] = {
    "analyse-spreadsheet": (
        says("I will look at the sheets first.", cells.LOOK_AT_WORKBOOK),
        says("Now each region against its target.", cells.REGIONS_AGAINST_TARGETS),
        quotes(
            r"missed: (\w+) by ([\d,]+)\n.*?met: ([^\n]+)",
            "**{0}** misses its target by {1}; {2} meet theirs. The chart is in "
            "[sales-against-target.png](sandbox:/mnt/data/sales-against-target.png).",
        ),
    ),
    "clean-csv": (
        says("What is wrong with it?", cells.LOOK_AT_CONTACTS),
        says(
            "Spaces, cases, three kinds of dates, people who are there twice, and addresses that are "
            "none.",
            cells.CLEAN_CONTACTS,
        ),
        quotes(
            r"rows: (\d+) before, (\d+) after\nwithout a valid address: (\d+)\n"
            r"without a valid date: (\d+)",
            "Of {0} rows {1} are left. {2} have no valid address and {3} no valid date: those fields "
            "are empty now. The table is [contacts-clean.csv](sandbox:/mnt/data/contacts-clean.csv).",
        ),
    ),
    "several-files": (
        says(
            "I put the months together, and then into a workbook.",
            cells.JOIN_METERS,
            cells.METERS_WORKBOOK,
        ),
        quotes(
            r"most: ([\w ]+) with ([\d.]+ kWh)\nall together: ([\d.]+ kWh)",
            "The {0} needs most, {1} of {2}. [energy.xlsx](sandbox:/mnt/data/energy.xlsx) has a sheet "
            "by month and one with every reading.",
        ),
    ),
    "long-computation": (
        says("I throw points at a square and say how far I am.", cells.LONG_COMPUTATION),
        quotes(r"result: ([\d.]+) from ([\d,]+) points", "Pi is about {0}, from {1} points."),
    ),
}


def serve_example_scripts() -> None:
    """Make these scripts models that the scripted model serves."""
    SCRIPTS.update(EXAMPLE_SCRIPTS)
