"""A conversation as a notebook."""

import json
from typing import Any

import nbformat

from runner.chat.notebook import with_words


def ran(code: str, number: int) -> dict[str, Any]:
    return {
        "id": f"exec_{number}",
        "cell_type": "code",
        "source": code,
        "execution_count": number,
        "outputs": [],
        "metadata": {},
    }


def calls(*codes: str, text: str = "") -> dict[str, Any]:
    made = [
        {
            "id": code,
            "function": {"name": "execute_python", "arguments": json.dumps({"code": code})},
        }
        for code in codes
    ]
    return {"role": "assistant", "content": text or None, "tool_calls": made}


def test_words_stand_around_the_cells_that_ran() -> None:
    """In the order of the conversation; a cell of a session that is gone has no outputs."""
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Add\nthem."},
        calls("gone"),
        {"role": "tool", "tool_call_id": "gone", "content": "1"},
        calls("x = 1", "x", text="I look."),
        {"role": "tool", "tool_call_id": "x = 1", "content": ""},
        {"role": "user", "content": [{"type": "text", "text": "picture"}]},
        {"role": "assistant", "content": "It is 1."},
    ]
    notebook = {
        "nbformat": 4,
        "nbformat_minor": 5,
        "metadata": {},
        "cells": [ran("x = 1", 1), ran("x", 2), ran("by hand", 3)],
    }
    whole = with_words(notebook, messages)
    nbformat.validate(whole)
    assert [(cell["source"], cell.get("execution_count")) for cell in whole["cells"]] == [
        ("> Add\n> them.", None),
        ("gone", None),
        ("I look.", None),
        ("x = 1", 1),
        ("x", 2),
        ("It is 1.", None),
        ("by hand", 3),
    ]
    assert with_words(notebook, messages) == whole
