"""No memory of what was shown: it has been sent, and a session may show much."""

from collections import defaultdict
from typing import Any


class ForgottenOutputs(defaultdict[int, list[Any]]):
    """Looks empty whatever is put in. IPython keeps here all that is printed and every figure."""

    def __missing__(self, key: int) -> list[Any]:
        return []

    def __setitem__(self, key: int, value: list[Any]) -> None:
        return None
