"""The cells that are measured, as data, and what a right answer to each looks like."""

import base64
from typing import Any

PNG_START = b"\x89PNG\r\n\x1a\n"
TABLE_NAME = "sales.csv"
TABLE = b"month,sales\n1,10\n2,12\n3,9\n4,15\n5,18\n6,21\n"

PRINT = "print(1)"
FIRST_CHART = f"""\
import pandas as pd
import matplotlib.pyplot as plt

frame = pd.DataFrame({{"month": range(1, 7), "sales": [10, 12, 9, 15, 18, 21]}})
frame.to_csv("{TABLE_NAME}", index=False)
plt.plot(frame["month"], frame["sales"])
plt.title("Sales")
plt.show()
"""
# `docker run python -c` has no display: the same script leaves its chart as a file.
FIRST_CHART_AS_SCRIPT = FIRST_CHART.replace("plt.show()", 'plt.savefig("chart.png")')

TICK_S = 0.03


def ticks(count: int) -> str:
    """A cell that prints the time again and again, flushed each time."""
    return (
        f"import time\nfor _ in range({count}):\n"
        f"    print(time.time(), flush=True)\n    time.sleep({TICK_S})\n"
    )


def is_printed_one(outputs: list[dict[str, Any]]) -> bool:
    return [(o["output_type"], o.get("text")) for o in outputs] == [("stream", "1\n")]


def has_chart(outputs: list[dict[str, Any]]) -> bool:
    """Whether a PNG is among the outputs (nbformat nodes, or the contents of display messages)."""
    pictures = [o["data"]["image/png"] for o in outputs if "image/png" in o.get("data", {})]
    return len(pictures) == 1 and base64.b64decode(pictures[0]).startswith(PNG_START)
