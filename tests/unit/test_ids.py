"""Identifiers: unique, recognisable, in the order they were made."""

import pytest

from sandbox_service.domain.ids import looks_like, new_id


def test_ids_are_unique_and_recognised() -> None:
    """A prefix, 24 characters, never twice."""
    ids = {new_id("sess") for _ in range(5000)}
    assert len(ids) == 5000
    assert all(looks_like("sess", text) and len(text) == 29 for text in ids)


def test_later_ids_sort_later() -> None:
    """The first characters are the time, so pages can sort by id."""
    times = [new_id("exec")[5:14] for _ in range(1000)]
    assert times == sorted(times)


@pytest.mark.parametrize(
    "text", ["", "sess", "sess_", "exec_" + "0" * 24, "sess_" + "0" * 23, "sess_" + "w" * 24,
             "sess_" + "0" * 24 + "\n", "sess_../" + "0" * 21, "SESS_" + "0" * 24],
)  # fmt: skip
def test_other_texts_do_not_look_like_ids(text: str) -> None:
    """Only what new_id can have made is looked up at all."""
    assert not looks_like("sess", text)
