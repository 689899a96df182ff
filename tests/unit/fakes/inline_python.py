"""Runs cells in this very process: state is kept, prints and the last value become outputs."""

import ast
import contextlib
import io
import traceback
from typing import Any

Output = dict[str, Any]


class InlinePython:
    """A kernel without a kernel, for code that the tests themselves wrote."""

    def __init__(self) -> None:
        self._names: dict[str, Any] = {"__name__": "__main__"}
        self._count = 0

    def run(self, code: str) -> list[Output]:
        """The outputs of one cell, in notebook form."""
        self._count += 1
        printed = io.StringIO()
        outputs: list[Output] = []
        with contextlib.redirect_stdout(printed):
            try:
                value = self._evaluate(code)
            except Exception as error:  # noqa: BLE001 - a cell may raise anything
                outputs.append(_error_output(error))
            else:
                if value is not None:
                    outputs.append(self._value_output(value))
        if printed.getvalue():
            text = {"output_type": "stream", "name": "stdout", "text": printed.getvalue()}
            outputs.insert(0, text)
        return outputs

    def _evaluate(self, code: str) -> object:
        tree = ast.parse(code)
        last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
        exec(compile(tree, "<cell>", "exec"), self._names)
        if last is None:
            return None
        return eval(compile(ast.Expression(last.value), "<cell>", "eval"), self._names)

    def _value_output(self, value: object) -> Output:
        return {
            "output_type": "execute_result",
            "execution_count": self._count,
            "data": {"text/plain": repr(value)},
            "metadata": {},
        }


def _error_output(error: Exception) -> Output:
    name = type(error).__name__
    frames = [f"\x1b[31m{name}\x1b[0m", *traceback.format_tb(error.__traceback__)]
    return {
        "output_type": "error",
        "ename": name,
        "evalue": str(error),
        "traceback": [*frames, f"{name}: {error}"],
    }
