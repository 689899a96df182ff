"""API keys: kept as hashes, found by their digest, gone at once when they expire or are revoked."""

import threading
from datetime import timedelta
from pathlib import Path

import pytest

from sandbox_service.domain.errors import NotFound, Unauthenticated, Unavailable
from sandbox_service.domain.quota_rules import TenantLimits
from sandbox_service.domain.tenancy import Scope
from sandbox_service.tenants.key_file import KeyFile
from sandbox_service.tenants.keyring import Keyring
from sandbox_service.tenants.records import DEFAULT_SCOPES, id_of, make_key
from tests.support.fakes import SteppedClock


@pytest.fixture
def clock() -> SteppedClock:
    return SteppedClock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "keys.json"


def test_a_key_is_found_with_its_tenant_and_scopes(path: Path, clock: SteppedClock) -> None:
    fresh = make_key("acme", clock.now(), scopes=[Scope.READ])
    KeyFile(path).add(fresh)
    found = Keyring([], KeyFile(path), clock).find(fresh.key)
    assert found is not None
    assert (found.tenant, found.scopes, found.key_id) == (
        "acme",
        frozenset({Scope.READ}),
        fresh.record.id,
    )


def test_the_file_holds_no_key_and_is_for_its_owner_only(path: Path, clock: SteppedClock) -> None:
    fresh = make_key("acme", clock.now())
    KeyFile(path).add(fresh)
    secret = fresh.key.rpartition("_")[2]
    assert secret not in path.read_text()
    assert secret not in repr(fresh)
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "change", [lambda key: key[:-1], lambda key: key + "x", lambda key: key.upper(), lambda key: ""]
)
def test_what_is_nearly_a_key_is_none(path: Path, clock: SteppedClock, change) -> None:
    fresh = make_key("acme", clock.now())
    KeyFile(path).add(fresh)
    assert Keyring([], KeyFile(path), clock).find(change(fresh.key)) is None


def test_two_keys_of_one_tenant_share_nothing(clock: SteppedClock) -> None:
    first, second = make_key("acme", clock.now()), make_key("acme", clock.now())
    assert first.record.id != second.record.id
    assert not first.record.belongs_to(second.key)
    assert id_of(first.key) == first.record.id


def test_a_key_expires_on_time(path: Path, clock: SteppedClock) -> None:
    fresh = make_key("acme", clock.now(), expires_at=clock.now() + timedelta(seconds=60))
    KeyFile(path).add(fresh)
    ring = Keyring([], KeyFile(path), clock)
    clock.advance(59)
    assert ring.find(fresh.key) is not None
    clock.advance(1)
    with pytest.raises(Unauthenticated) as refusal:
        ring.find(fresh.key)
    assert refusal.value.code == "key_expired"


def test_a_revocation_by_another_process_holds_for_the_next_call(
    path: Path, clock: SteppedClock
) -> None:
    fresh, other = make_key("acme", clock.now()), make_key("acme", clock.now())
    for key in (fresh, other):
        KeyFile(path).add(key)
    ring = Keyring([], KeyFile(path), clock)
    assert ring.find(fresh.key) is not None
    KeyFile(path).revoke(fresh.record.id, clock.now())
    with pytest.raises(Unauthenticated) as refusal:
        ring.find(fresh.key)
    assert refusal.value.code == "key_revoked"
    assert ring.find(other.key) is not None


def test_a_key_is_revoked_once_and_an_unknown_one_not_at_all(
    path: Path, clock: SteppedClock
) -> None:
    fresh, file = make_key("acme", clock.now()), KeyFile(path)
    file.add(fresh)
    first = file.revoke(fresh.record.id, clock.now())
    again = file.revoke(fresh.record.id, clock.now() + timedelta(hours=1))
    assert again.revoked_at == first.revoked_at
    with pytest.raises(NotFound):
        file.revoke("key_unknown", clock.now())


def test_keys_of_the_environment_have_every_scope_but_admin(clock: SteppedClock) -> None:
    found = Keyring([("acme", "plain-key")], None, clock).find("plain-key")
    assert found is not None
    assert found.scopes == DEFAULT_SCOPES == frozenset(Scope) - {Scope.ADMIN}
    assert "plain-key" not in found.key_id


def test_without_a_file_there_are_no_keys(path: Path, clock: SteppedClock) -> None:
    ring = Keyring([], KeyFile(path), clock)
    assert ring.find(make_key("acme", clock.now()).key) is None
    assert not ring.has_valid_keys()


def test_revoked_and_expired_keys_do_not_count_as_keys(path: Path, clock: SteppedClock) -> None:
    fresh = make_key("acme", clock.now())
    KeyFile(path).add(fresh)
    ring = Keyring([], KeyFile(path), clock)
    assert ring.has_valid_keys()
    KeyFile(path).revoke(fresh.record.id, clock.now())
    assert not ring.has_valid_keys()


@pytest.mark.parametrize("content", ["", "{", '{"version": 2}', '{"keys": [{"id": "x"}]}'])
def test_a_damaged_file_lets_nobody_in(path: Path, clock: SteppedClock, content: str) -> None:
    fresh = make_key("acme", clock.now())
    KeyFile(path).add(fresh)
    path.write_text(content)
    with pytest.raises(Unavailable) as refusal:
        Keyring([("acme", "plain-key")], KeyFile(path), clock).find(fresh.key)
    assert refusal.value.code == "keys_unavailable"


def test_a_file_that_others_can_write_lets_nobody_in(path: Path, clock: SteppedClock) -> None:
    fresh = make_key("acme", clock.now())
    KeyFile(path).add(fresh)
    path.chmod(0o666)
    with pytest.raises(Unavailable):
        Keyring([], KeyFile(path), clock).find(fresh.key)


def test_keys_made_at_the_same_time_are_all_kept(path: Path, clock: SteppedClock) -> None:
    keys = [make_key(f"tenant-{number}", clock.now()) for number in range(20)]
    threads = [threading.Thread(target=KeyFile(path).add, args=(key,)) for key in keys]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {r.id for r in KeyFile(path).book().keys} == {key.record.id for key in keys}
    assert [p.name for p in path.parent.iterdir() if p.name.endswith(".draft")] == []


def test_own_limits_lie_over_the_defaults_and_none_of_them_is_a_limit_too(
    path: Path, clock: SteppedClock
) -> None:
    KeyFile(path).set_quotas("acme", TenantLimits(sessions=3, stored_bytes=None))
    KeyFile(path).add(make_key("acme", clock.now()))
    own = KeyFile(path).book().quotas["acme"]
    limits = own.over(TenantLimits(sessions=9, executions=9, stored_bytes=9))
    assert (limits.sessions, limits.executions, limits.stored_bytes) == (3, 9, None)
    KeyFile(path).set_quotas("acme", None)
    assert KeyFile(path).book().quotas == {}


def test_limits_that_another_process_sets_hold_for_the_next_question(
    path: Path, clock: SteppedClock
) -> None:
    ring = Keyring([], KeyFile(path), clock)
    assert ring.limits_of("acme") is None
    KeyFile(path).set_quotas("acme", TenantLimits(sessions=3))
    assert ring.limits_of("acme") == TenantLimits(sessions=3)
    path.write_text("{")
    assert ring.limits_of("acme") == TenantLimits(sessions=3)


def test_a_key_that_another_process_makes_opens_at_once(path: Path, clock: SteppedClock) -> None:
    ring = Keyring([], KeyFile(path), clock)
    assert not ring.has_valid_keys()
    fresh = make_key("acme", clock.now())
    KeyFile(path).add(fresh)
    assert ring.find(fresh.key) is not None
    assert ring.tenants() == {"acme"}


def test_a_key_that_only_looks_after_the_service_is_nobodys_key_to_work_with(
    path: Path, clock: SteppedClock
) -> None:
    """Beside it a service that has no other still makes one and prints it."""
    KeyFile(path).add(make_key("ops", clock.now(), scopes=[Scope.ADMIN]))
    assert not Keyring([], KeyFile(path), clock).has_valid_keys()
    KeyFile(path).add(make_key("ops", clock.now(), scopes=[Scope.ADMIN, Scope.READ]))
    assert Keyring([], KeyFile(path), clock).has_valid_keys()
