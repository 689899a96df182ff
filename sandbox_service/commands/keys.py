"""`sandbox-service keys create|list|revoke`: API keys in the key file of the data directory."""

import argparse
import re
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from sandbox_service.commands.noting import note
from sandbox_service.domain.tenancy import Scope, is_tenant_name
from sandbox_service.settings import Settings, SettingsError, load_settings
from sandbox_service.tenants.key_file import KeyFile
from sandbox_service.tenants.opening import open_key_file
from sandbox_service.tenants.records import DEFAULT_SCOPES, FreshKey, KeyRecord, make_key

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_DURATION = re.compile(r"([0-9]{1,6})([smhd])", re.ASCII)

Commands = argparse._SubParsersAction  # argparse names it no other way


def add_keys(commands: "Commands[argparse.ArgumentParser]") -> None:
    """Add `keys` and what it can do."""
    keys = commands.add_parser("keys", help="make, list and revoke API keys")
    actions = keys.add_subparsers(required=True, metavar="action")
    create = actions.add_parser("create", help="make a key; it is printed once, on stdout")
    create.add_argument("--tenant", required=True, help="whom the key belongs to")
    create.add_argument("--name", default="", help="what people call it")
    create.add_argument(
        "--scope",
        action="append",
        type=Scope,
        choices=list(Scope),
        help="a right of the key, may be repeated; default: execute, files, read",
    )
    create.add_argument(
        "--expires-in", type=_duration, metavar="30d", help="s, m, h or d; default: never"
    )
    create.set_defaults(run=_create)
    actions.add_parser("list", help="list keys, without secrets").set_defaults(run=_list)
    revoke = actions.add_parser("revoke", help="take a key's rights away, at once")
    revoke.add_argument("id", help="the key's id, such as key_...")
    revoke.set_defaults(run=_revoke)


def _duration(text: str) -> timedelta:
    match = _DURATION.fullmatch(text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no time such as 90s, 12h or 30d")
    return timedelta(seconds=int(match[1]) * _UNITS[match[2]])


def _create(options: argparse.Namespace) -> int:
    settings, now = load_settings(), datetime.now(UTC)
    fresh = make_key(
        checked_tenant(options.tenant),
        now,
        name=options.name[:128],
        scopes=options.scope or DEFAULT_SCOPES,
        expires_at=None if options.expires_in is None else now + options.expires_in,
    )
    open_key_file(settings).add(fresh)
    _note_created(settings, fresh)
    print(f"{_describe(fresh.record, now)}\nThe key is shown this once:", file=sys.stderr)
    print(fresh.key)
    return 0


def checked_tenant(tenant: str) -> str:
    """The name of a tenant. Raises SettingsError."""
    if not is_tenant_name(tenant):
        raise SettingsError("a tenant's name must be 1 to 128 printable characters")
    return tenant


def _note_created(settings: Settings, fresh: FreshKey) -> None:
    record = fresh.record
    expires_at = record.expires_at.isoformat() if record.expires_at else None
    note(
        settings,
        "key.created",
        tenant=record.tenant,
        key_id=record.id,
        scopes=_scopes(record),
        expires_at=expires_at,
    )


def _list(options: argparse.Namespace) -> int:
    now, keys = datetime.now(UTC), _keys(open_key_file(load_settings()))
    for record in keys:
        print(_describe(record, now))
    if not keys:
        print("There are no keys in the key file.", file=sys.stderr)
    return 0


def _keys(file: KeyFile) -> Sequence[KeyRecord]:
    return file.book().keys


def _revoke(options: argparse.Namespace) -> int:
    settings, now = load_settings(), datetime.now(UTC)
    record = open_key_file(settings).revoke(options.id, now)
    note(settings, "key.revoked", tenant=record.tenant, key_id=record.id)
    print(_describe(record, now))
    return 0


def _describe(record: KeyRecord, now: datetime) -> str:
    name = f" {record.name!r}" if record.name else ""
    scopes = ",".join(_scopes(record))
    made = f"{record.created_at:%Y-%m-%d}"
    return f"{record.id}  {record.tenant}{name}  {scopes}  made {made}  {_state(record, now)}"


def _scopes(record: KeyRecord) -> list[str]:
    return sorted(scope.value for scope in record.scopes)


def _state(record: KeyRecord, now: datetime) -> str:
    if record.revoked_at is not None:
        return f"revoked {record.revoked_at:%Y-%m-%d %H:%M:%S} UTC"
    if record.expires_at is None:
        return "valid, never expires"
    word = "valid until" if record.is_valid(now) else "expired"
    return f"{word} {record.expires_at:%Y-%m-%d %H:%M:%S} UTC"
