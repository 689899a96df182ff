"""Links hold for one artifact until their time, and for nothing else; the key is made once."""

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from urllib.parse import parse_qs

import pytest

from sandbox_service.domain.errors import PermissionDenied, Unavailable
from sandbox_service.files.link_marks import DirectoryLinkMarks
from sandbox_service.files.links import KEY_BYTES, Links, load_or_make_key
from tests.support.fakes import SteppedClock

KEY = b"k" * KEY_BYTES


def signed(links: Links, clock: SteppedClock, seconds: float = 60) -> dict[str, str]:
    query = links.sign("art_1", clock.now() + timedelta(seconds=seconds))
    return {name: values[0] for name, values in parse_qs(query).items()}


def test_a_link_holds_until_its_time() -> None:
    """Not a second longer."""
    clock = SteppedClock()
    links = Links(KEY, clock)
    query = signed(links, clock)
    clock.advance(59)
    links.verify("art_1", **query)
    clock.advance(1)
    with pytest.raises(PermissionDenied) as refusal:
        links.verify("art_1", **query)
    assert refusal.value.code == "link_expired"


@pytest.mark.parametrize(
    "change",
    [
        {"artifact_id": "art_2"},
        {"expires": "99999999999"},
        {"expires": ""},
        {"expires": "-1"},
        {"expires": "\u0661"},
        {"expires": "9" * 5000},
        {"expires": "\ud800"},
        {"signature": ""},
        {"signature": "0" * 64},
        {"signature": "é\ud800"},
        {"artifact_id": "art_\ud800"},
    ],
)
def test_a_link_that_was_changed_does_not_hold(change: dict[str, str]) -> None:
    """Another artifact, another time, another signature: all the same refusal."""
    clock = SteppedClock()
    links = Links(KEY, clock)
    query = {"artifact_id": "art_1", **signed(links, clock), **change}
    with pytest.raises(PermissionDenied) as refusal:
        links.verify(**query)
    assert refusal.value.code == "invalid_link"


def test_a_link_of_another_key_does_not_hold() -> None:
    """A new key revokes every link."""
    clock = SteppedClock()
    query = signed(Links(b"o" * KEY_BYTES, clock), clock)
    with pytest.raises(PermissionDenied):
        Links(KEY, clock).verify("art_1", **query)


def test_the_key_is_made_once_for_its_owner_only(tmp_path: Path) -> None:
    """The next start reads the same key, so links outlive a restart."""
    path = tmp_path / "new" / "link.key"
    key = load_or_make_key(path)
    assert len(key) == KEY_BYTES
    assert load_or_make_key(path) == key
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert os.listdir(path.parent) == ["link.key"]


def test_processes_that_start_at_once_share_the_key(tmp_path: Path) -> None:
    """Whoever comes first makes it; the others take it."""
    with ThreadPoolExecutor(8) as pool:
        keys = set(pool.map(load_or_make_key, [tmp_path / "link.key"] * 16))
    assert len(keys) == 1


def test_a_file_that_holds_no_key_is_refused(tmp_path: Path) -> None:
    """A short key is never used, nor silently replaced."""
    path = tmp_path / "link.key"
    path.write_bytes(b"short")
    with pytest.raises(Unavailable):
        load_or_make_key(path)


def test_a_revoked_link_holds_for_no_process_and_newer_ones_do(tmp_path: Path) -> None:
    """Of the same artifact only, and a second revocation takes the newer ones too."""
    clock = SteppedClock()
    ours, theirs = (Links(KEY, clock, DirectoryLinkMarks(tmp_path)) for _ in range(2))
    other = ours.sign("art_2", clock.now() + timedelta(seconds=60))
    for _ in range(2):
        query = signed(ours, clock)
        theirs.verify("art_1", **query)
        clock.advance(0.001)
        ours.revoke("art_1")
        with pytest.raises(PermissionDenied) as refusal:
            theirs.verify("art_1", **query)
        assert refusal.value.code == "invalid_link"
        clock.advance(0.001)
    theirs.verify("art_2", **{name: v[0] for name, v in parse_qs(other).items()})


def test_a_link_to_what_is_no_artifact_is_invalid(tmp_path: Path) -> None:
    links = Links(KEY, SteppedClock(), DirectoryLinkMarks(tmp_path))
    for name in ("../../etc/passwd", "", "\x00", "a" * 500):
        with pytest.raises(PermissionDenied):
            links.verify(name, "99999999999", "0" * 64)


class UnreadableMarks:
    """Of a disk that must not be asked."""

    def of(self, artifact_id: str) -> int:
        raise AssertionError("a link was signed with a look at the disk")

    def renew(self, artifact_id: str, now_us: int) -> None:
        raise AssertionError("nothing was revoked")


def test_signing_costs_no_look_at_the_disk() -> None:
    """A page of 100 executions has up to 10,000 links."""
    clock = SteppedClock()
    query = signed(Links(KEY, clock, UnreadableMarks()), clock)
    Links(KEY, clock).verify("art_1", **query)
