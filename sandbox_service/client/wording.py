"""What a model is told of the sandbox, in the same words whichever way it comes in."""

import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path

EXECUTE_PYTHON = "execute_python"
CODE = "Python source of one notebook cell."

_DESCRIPTION = """\
Run Python in a Jupyter kernel. You get what it printed, the value of the last expression, \
pictures and the names of the files that it made.
- State is kept: variables and imports of earlier calls are still there. Do not repeat them.
- The working directory is /mnt/data. Files that the user sent are there. Every file that you \
write there is given to the user: save what they ask for, a chart as PNG, a table as CSV or Excel.{linking}
- A matplotlib figure is shown to the user and to you by plt.show().
- Print only what you need to see: long output is cut in the middle.
- There is no network and nothing can be installed. input() does not work.
- When the code fails you get the traceback: mend the code and call again.
Installed: {contents}"""

CONTENTS_FILE = Path(__file__).parents[2] / "images" / "python" / "CONTENTS.md"
"""What the sandbox image's build found in it."""

_USUAL_CONTENTS = """\
numpy, pandas, matplotlib, seaborn, scipy, scikit-learn, statsmodels, sympy, pyarrow, openpyxl, \
xlsxwriter, pillow, plotly, altair, networkx, beautifulsoup4, lxml, python-docx, python-pptx, \
pypdf, reportlab, tabulate."""

ENDINGS = {
    "timeout": "The code was stopped: it ran longer than its time limit.",
    "interrupted": "The code was interrupted.",
    "out_of_memory": "The code needed more memory than the sandbox has, and its kernel was killed.",
    "kernel_died": "The Python process ended while the code ran.",
    "lost": "The sandbox failed while the code ran; this is not the code's fault.",
}
"""Outcomes of an execution that its outputs do not tell."""

STATE_LOST = (
    "The kernel was restarted: variables and imports of earlier calls are gone, files are kept."
)

REASONS = {
    "session_expired": "it was not used for too long",
    "session_closed": "it was closed",
    "session_lost": "its sandbox failed",
    "sandbox_lost": "its sandbox failed",
}
"""Why a session is over, by the code of the service's error."""

MOST_NAMED = 20


@cache
def description(linking: str = "") -> str:
    """What `execute_python` does and how to use it well; `linking` says how to link a file."""
    try:
        contents = short_contents(CONTENTS_FILE.read_text())
    except FileNotFoundError:
        contents = _USUAL_CONTENTS
    linking = linking and f" {linking}"
    return _DESCRIPTION.format(contents=contents, linking=linking)


def short_contents(listing: str) -> str:
    """The groups of an image's list in one line, without versions and the kernel's own packages."""
    groups = re.findall(r"^- (?!the kernel)(.+)$", listing, re.MULTILINE)
    return "; ".join(re.sub(r" \d[\w.+-]*(?=,|$)", "", group) for group in groups) + "."


def news_of_new_session(reason: str, restored: Sequence[str]) -> str:
    """Why there is a new session, and what of the one before is still there."""
    more = f" and {len(restored) - MOST_NAMED} more" if len(restored) > MOST_NAMED else ""
    names = ", ".join(restored[:MOST_NAMED]) + more
    files = f"files restored: {names}" if restored else "there are no files"
    return (
        f"A new session was opened, since the one before is over: {reason}. "
        f"Variables and imports are gone; {files}."
    )


def news_of_lost_code(reason: str) -> str:
    """What became of code whose session ended under it."""
    return (
        f"The code did not finish: the session is over, {reason}. The next call gets "
        "a new session: variables and imports are gone."
    )
