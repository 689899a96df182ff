"""A session as .ipynb: valid, complete, and the same every time."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import nbformat
import orjson

from sandbox_service.api.answers import dumps
from sandbox_service.domain.ports import KernelMessage
from sandbox_service.domain.values import ExecutionRecord, ExecutionStatus, KernelStamp
from sandbox_service.kernels.notebook import notebook_cells, notebook_frame
from sandbox_service.kernels.outputs import OutputReducer

NOW = datetime(2026, 3, 1, tzinfo=UTC)


def to_notebook(
    executions: list[ExecutionRecord], metadata: dict[str, Any] | None = None
) -> dict[str, Any]:
    return {**notebook_frame(metadata), "cells": list(notebook_cells(executions))}


def record(execution_id: str, code: str, **changes: Any) -> ExecutionRecord:
    return ExecutionRecord(
        id=execution_id,
        session_id="sess_1",
        tenant="acme",
        status=changes.pop("status", ExecutionStatus.OK),
        created_at=NOW,
        code=code,
        kernel=KernelStamp(epoch=1, state="kept"),
        session_expires_at=NOW,
        **changes,
    )


def outputs(*messages: tuple[str, dict[str, Any]]) -> list[dict[str, Any]]:
    reducer = OutputReducer(10_000)
    for msg_type, content in messages:
        reducer.apply(KernelMessage(1, "iopub", msg_type, content))
    return reducer.outputs


def everything() -> list[ExecutionRecord]:
    figure = {"data": {"image/png": "iVBORw0KGgo=", "text/plain": "<Figure>"}, "metadata": {}}
    chart = {"data": {"application/vnd.plotly.v1+json": {"data": []}}, "metadata": {}}
    error = {"ename": "ValueError", "evalue": "no", "traceback": ["\x1b[31mno\x1b[0m"]}
    return [
        record(
            "exec_1",
            "print('é')\n1",
            execution_count=1,
            started_at=NOW,
            duration_s=0.1,
            outputs=outputs(
                ("stream", {"name": "stdout", "text": "é\n"}),
                ("display_data", figure),
                ("display_data", chart),
                ("execute_result", {"data": {"text/plain": "1"}, "execution_count": 1}),
            ),
        ),
        record(
            "exec_2",
            "boom()",
            execution_count=2,
            status=ExecutionStatus.ERROR,
            outputs=outputs(("error", error)),
        ),
        record("exec_3", "", status=ExecutionStatus.QUEUED),
        record("odd id / " + "x" * 99, "%pip list\n!ls", truncated=True, notices=["cut \ud800"]),
    ]


def test_every_output_and_status_makes_a_valid_notebook(tmp_path: Path) -> None:
    """It validates strictly, and reads back from a file as it was."""
    notebook = to_notebook(everything(), {"session_id": "sess_1"})
    nbformat.validate(orjson.loads(dumps(notebook)), relax_add_props=False)
    path = tmp_path / "session.ipynb"
    path.write_bytes(dumps(notebook))
    read = nbformat.read(path, as_version=4)
    assert [cell.source for cell in read.cells] == [r.code for r in everything()]
    assert [len(cell.outputs) for cell in read.cells] == [4, 1, 0, 0]
    assert read.metadata.kernelspec.name == "python3"
    assert read.metadata.sandbox.session_id == "sess_1"


def test_cells_say_how_they_went() -> None:
    """A reader of the notebook sees what timed out, was cut, or lost its state."""
    cells = to_notebook(everything())["cells"]
    assert [cell["metadata"]["sandbox"]["status"] for cell in cells] == [
        "ok", "error", "queued", "ok",
    ]  # fmt: skip
    assert cells[3]["metadata"]["sandbox"]["truncated"] is True


def test_the_same_session_gives_the_same_notebook() -> None:
    """Cell ids come from the executions, not from chance."""
    assert dumps(to_notebook(everything())) == dumps(to_notebook(everything()))
    assert to_notebook(everything())["cells"][0]["id"] == "exec_1"


def test_an_empty_session_is_a_notebook() -> None:
    """Nothing was run yet."""
    notebook = to_notebook([], None)
    nbformat.validate(notebook)
    assert notebook["cells"] == []
