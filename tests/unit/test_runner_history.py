"""Stored conversations: whole lines, one holder at a time, nothing secret."""

import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from runner.history import (
    History,
    HistoryError,
    default_directory,
    path_of,
    read_record,
    stored,
)
from runner.limits import TurnUsage, Usage

QUESTION = {"role": "user", "content": "How many?"}
ANSWER = {"role": "assistant", "content": "Three é."}


def written(directory: Path, *messages: dict[str, Any], state: Any = None) -> Path:
    with History.create(directory) as history:
        history.note(messages, state)
        return history.path


def test_a_conversation_is_taken_up_as_it_was_left(tmp_path: Path) -> None:
    """Messages in their order, the tool's latest state; and it goes on in the same file."""
    path = written(tmp_path, QUESTION, state={"session_id": "one"})
    with History.open(path) as history:
        history.note([ANSWER], {"session_id": "two"})
        history.end_turn(TurnUsage(Usage(10, 2), requests=1))
    with History.open(path) as history:
        assert history.messages == [QUESTION, ANSWER]
        assert history.state == {"session_id": "two"}
        assert history.id == path.stem
    assert read_record(path).used[0]["model"]["input_tokens"] == 10


def test_nothing_is_stored_of_a_conversation_without_a_message(tmp_path: Path) -> None:
    """Opening a chat and leaving it makes no file."""
    with History.create(tmp_path / "deep") as history:
        history.note([], None)
    assert list(tmp_path.iterdir()) == []


def test_a_state_that_did_not_change_is_not_written_again(tmp_path: Path) -> None:
    """The state is looked at after every event."""
    with History.create(tmp_path) as history:
        for _ in range(3):
            history.note([], {"session_id": "one"})
    assert len(history.path.read_text().splitlines()) == 2


@pytest.mark.parametrize("cut", [1, 10, 40])
def test_a_line_that_was_not_finished_is_dropped(tmp_path: Path, cut: int) -> None:
    """The process was killed in the middle of a write; what follows goes on a line of its own."""
    path = written(tmp_path, QUESTION, ANSWER)
    os.truncate(path, path.stat().st_size - cut)
    with History.open(path) as history:
        assert history.messages == [QUESTION]
        history.note([ANSWER], None)
    assert read_record(path).messages == [QUESTION, ANSWER]


def test_a_conversation_is_held_by_one_process_at_a_time(tmp_path: Path) -> None:
    """Two would mix their turns."""
    path = written(tmp_path, QUESTION)
    with History.open(path), pytest.raises(HistoryError, match="open in another process"):
        History.open(path)
    History.open(path).close()


def test_only_the_owner_can_read_it(tmp_path: Path) -> None:
    """Conversations are private."""
    path = written(tmp_path / "new", QUESTION)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_every_line_is_plain_json(tmp_path: Path) -> None:
    """Any tool can read it."""
    path = written(tmp_path, QUESTION, ANSWER, state={"a": 1})
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["record"] for line in lines] == ["conversation", "message", "message", "tool"]


@pytest.mark.parametrize(
    "content",
    [
        "",
        "no json\n",
        "[]\n",
        '{"record": "other"}\n',
        '{"record": "conversation", "version": 9}\n',
    ],
)
def test_a_file_that_is_none_of_ours_is_refused(tmp_path: Path, content: str) -> None:
    """And left as it is."""
    path = tmp_path / "x.jsonl"
    path.write_text(content)
    with pytest.raises(HistoryError):
        History.open(path)
    assert path.read_text() == content


def test_conversations_are_listed_with_the_latest_first(tmp_path: Path) -> None:
    """By their first question; files of others are left out."""
    first = written(tmp_path, QUESTION, ANSWER)
    second = written(tmp_path, {"role": "user", "content": "And now?"})
    os.utime(first, (1, 1))
    (tmp_path / "broken.jsonl").write_text("{")
    found = list(stored(tmp_path))
    assert [record.id for record in found] == [second.stem, first.stem]
    assert [record.first_question for record in found] == ["And now?", "How many?"]
    assert list(stored(tmp_path / "none")) == []


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".hidden", "A"])
def test_an_id_is_no_path(tmp_path: Path, name: str) -> None:
    """Nothing outside the directory can be named."""
    with pytest.raises(HistoryError):
        path_of(tmp_path, name)


def test_an_unknown_conversation_is_said(tmp_path: Path) -> None:
    """By its id."""
    with pytest.raises(HistoryError, match="no conversation nowhere"):
        History.open(path_of(tmp_path, "nowhere"))


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"RUNNER_HISTORY": "/h"}, "/h"),
        ({"XDG_DATA_HOME": "/x"}, "/x/sandbox-runner/conversations"),
        ({"HOME": "/me"}, "/me/.local/share/sandbox-runner/conversations"),
    ],
)
def test_the_place_is_the_callers_or_the_desktops(
    environment: dict[str, str], expected: str
) -> None:
    """As desktops expect it."""
    assert default_directory(environment) == Path(expected)
