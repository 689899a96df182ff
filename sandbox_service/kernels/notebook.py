"""A session as a notebook that any Jupyter tool opens."""

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sandbox_service.domain.json_values import clean_json, clean_text
from sandbox_service.domain.values import ExecutionRecord

_CELL_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_KERNELSPEC = {"name": "python3", "display_name": "Python 3 (ipykernel)", "language": "python"}
_LANGUAGE = {
    "name": "python",
    "file_extension": ".py",
    "mimetype": "text/x-python",
    "nbconvert_exporter": "python",
    "pygments_lexer": "ipython3",
    "codemirror_mode": {"name": "ipython", "version": 3},
}


def notebook_cells(executions: Sequence[ExecutionRecord]) -> Iterator[dict[str, Any]]:
    """A code cell per execution, in their order, each made when it is due; the same executions give the same.

    How each went is kept under `sandbox` in its metadata.
    """
    return (_cell(record, at) for at, record in enumerate(executions))


def notebook_frame(metadata: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """All of an nbformat 4.5 notebook but its cells; `metadata` is kept under `sandbox` in its own."""
    return {
        "nbformat": 4,
        "nbformat_minor": 5,
        "metadata": {
            "kernelspec": dict(_KERNELSPEC),
            "language_info": dict(_LANGUAGE),
            "sandbox": clean_json(dict(metadata or {})),
        },
    }


def _cell(record: ExecutionRecord, at: int) -> dict[str, Any]:
    return {
        "id": _cell_id(record.id, at),
        "cell_type": "code",
        "source": clean_text(record.code),
        "execution_count": record.execution_count,
        "outputs": record.outputs,
        "metadata": {"sandbox": _circumstances(record)},
    }


def _circumstances(record: ExecutionRecord) -> dict[str, Any]:
    return {
        "status": record.status.value,
        "started_at": record.started_at.isoformat() if record.started_at else None,
        "duration_s": record.duration_s,
        "truncated": record.truncated,
        "notices": [clean_text(notice) for notice in record.notices],
        "kernel": record.kernel.model_dump(),
    }


def _cell_id(execution_id: str, at: int) -> str:
    """The execution's id where a notebook allows it, else a digest of it and its place."""
    if _CELL_ID.fullmatch(execution_id):
        return execution_id
    named = f"{at}\n{execution_id}".encode("utf-8", "replace")
    return hashlib.sha256(named).hexdigest()[:32]
