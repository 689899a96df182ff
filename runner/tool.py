"""The one definition of `execute_python`: name, schema, description, and the reading of a call."""

import json
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

NAME = "execute_python"

PARAMETERS: dict[str, Any] = {
    "type": "object",
    "properties": {
        "code": {"type": "string", "description": "Python source of one notebook cell."},
    },
    "required": ["code"],
    "additionalProperties": False,
}

_DESCRIPTION = """\
Run Python in a Jupyter kernel. You get what it printed, the value of the last expression, \
pictures and the names of the files that it made.
- State is kept: variables and imports of earlier calls are still there. Do not repeat them.
- The working directory is /mnt/data. Files that the user sent are there. Every file that you \
write there is given to the user: save what they ask for, a chart as PNG, a table as CSV or Excel. \
In your answer, link it as [name](sandbox:/mnt/data/name).
- A matplotlib figure is shown to the user and to you by plt.show().
- Print only what you need to see: long output is cut in the middle.
- There is no network and nothing can be installed. input() does not work.
- When the code fails you get the traceback: mend the code and call again.
Installed: {contents}"""

CONTENTS_FILE = Path(__file__).parents[1] / "images" / "python" / "CONTENTS.md"
"""What the sandbox image's build found in it."""

_USUAL_CONTENTS = """\
numpy, pandas, matplotlib, seaborn, scipy, scikit-learn, statsmodels, sympy, pyarrow, openpyxl, \
xlsxwriter, pillow, plotly, altair, networkx, beautifulsoup4, lxml, python-docx, python-pptx, \
pypdf, reportlab, tabulate."""


class MalformedCall(Exception):
    """The arguments are not the tool's; the message tells the model what was wrong."""


def definition() -> dict[str, Any]:
    """Name, description and JSON schema of the arguments: what every protocol needs of a tool."""
    return {"name": NAME, "description": description(), "parameters": PARAMETERS}


def chat_tool() -> dict[str, Any]:
    """The tool for a chat completions request."""
    return {"type": "function", "function": definition() | {"strict": True}}


@cache
def description() -> str:
    """What the model is told of the tool."""
    try:
        contents = short_contents(CONTENTS_FILE.read_text())
    except FileNotFoundError:
        contents = _USUAL_CONTENTS
    return _DESCRIPTION.format(contents=contents)


def short_contents(listing: str) -> str:
    """The groups of an image's list in one line, without versions and the kernel's own packages."""
    groups = re.findall(r"^- (?!the kernel)(.+)$", listing, re.MULTILINE)
    return "; ".join(re.sub(r" \d[\w.+-]*(?=,|$)", "", group) for group in groups) + "."


def parse_arguments(arguments: str | Mapping[str, Any]) -> str:
    """The code of a call; the arguments as JSON, or parsed already. Raises MalformedCall."""
    value = _parsed(arguments) if isinstance(arguments, str) else arguments
    if not isinstance(value, Mapping):
        raise MalformedCall(_advice("the arguments are not a JSON object"))
    if unknown := sorted(str(name) for name in value.keys() - {"code"}):
        raise MalformedCall(_advice(f"unknown argument {', '.join(map(repr, unknown))}"))
    code = value.get("code")
    if not isinstance(code, str):
        raise MalformedCall(_advice("'code' is missing or not a string"))
    return code


def _parsed(arguments: str) -> Any:
    try:
        return json.loads(arguments)
    except ValueError as error:
        raise MalformedCall(_advice(f"the arguments are not valid JSON ({error})")) from error


def _advice(what: str) -> str:
    return f'Nothing was run: {what}. Call {NAME} with {{"code": "<Python source>"}}.'
