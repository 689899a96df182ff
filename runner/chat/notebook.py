"""A conversation as a notebook: the words around the cells that ran. Pure."""

import json
from collections.abc import Iterator, Sequence
from hashlib import sha256
from typing import Any

from runner.reply import Message

Cell = dict[str, Any]


def with_words(notebook: dict[str, Any], messages: Sequence[Message]) -> dict[str, Any]:
    """The session's notebook with the questions and answers between its cells.

    Cells that an earlier session ran are there without their outputs, which went with it.
    """
    cells = list(_cells(messages, list(notebook["cells"])))
    return {**notebook, "cells": cells}


def _cells(messages: Sequence[Message], ran: list[Cell]) -> Iterator[Cell]:
    """The conversation's cells in order; what else ran in the session comes at its end."""
    for number, message in enumerate(messages):
        content = message.get("content")
        if message["role"] in ("user", "assistant") and isinstance(content, str) and content:
            yield _words(content, number, is_question=message["role"] == "user")
        for at, call in enumerate(message.get("tool_calls") or ()):
            code = json.loads(call["function"]["arguments"]).get("code")
            if code is not None:
                yield _taken(ran, code) or _not_kept(code, f"{number}-{at}")
    yield from ran


def _taken(ran: list[Cell], code: str) -> Cell | None:
    """The next cell of the session with this code, taken out of those that ran."""
    for at, cell in enumerate(ran):
        if cell["source"] == code:
            return ran.pop(at)
    return None


def _words(text: str, number: int, *, is_question: bool) -> Cell:
    quoted = "\n".join(f"> {line}" for line in text.split("\n")) if is_question else text
    return {"id": _id(f"words-{number}"), "cell_type": "markdown", "metadata": {}, "source": quoted}


def _not_kept(code: str, name: str) -> Cell:
    return {
        "id": _id(f"code-{name}"),
        "cell_type": "code",
        "metadata": {},
        "source": code,
        "execution_count": None,
        "outputs": [],
    }


def _id(name: str) -> str:
    """The same conversation gives the same ids, and none that a session's cells have."""
    return f"chat-{sha256(name.encode()).hexdigest()[:12]}"
