"""`sandbox-service quotas set|clear|list`: limits of single tenants, in place of `SANDBOX_QUOTA_*`."""

import argparse

from pydantic import ValidationError

from sandbox_service.commands.keys import Commands, checked_tenant
from sandbox_service.commands.noting import note
from sandbox_service.domain.quota_rules import TenantLimits
from sandbox_service.settings import SettingsError, load_settings
from sandbox_service.tenants.opening import default_limits, open_key_file

_NAMES = ", ".join(TenantLimits.model_fields)


def add_quotas(commands: "Commands[argparse.ArgumentParser]") -> None:
    """Add `quotas` and what it can do."""
    quotas = commands.add_parser("quotas", help="give single tenants limits of their own")
    actions = quotas.add_subparsers(required=True, metavar="action")
    giving = actions.add_parser("set", help="set limits of a tenant; the service sees them at once")
    giving.add_argument("tenant")
    giving.add_argument(
        "limits", nargs="+", metavar="name=value", help=f"names: {_NAMES}; value none: no limit"
    )
    giving.set_defaults(run=_set)
    clearing = actions.add_parser("clear", help="let the defaults hold again for a tenant")
    clearing.add_argument("tenant")
    clearing.set_defaults(run=_clear)
    actions.add_parser("list", help="show all limits").set_defaults(run=_list)


def _set(options: argparse.Namespace) -> int:
    settings = load_settings()
    limits = _parsed(options.limits)
    open_key_file(settings).set_quotas(checked_tenant(options.tenant), limits)
    given = limits.model_dump(exclude_unset=True)
    note(settings, "quotas.changed", tenant=options.tenant, limits=given)
    return 0


def _parsed(pairs: list[str]) -> TenantLimits:
    given = dict(pair.partition("=")[::2] for pair in pairs)
    values = {name: None if text == "none" else text for name, text in given.items()}
    try:
        return TenantLimits.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        raise SettingsError(f"{first['loc'][0]}: {first['msg']} (names: {_NAMES})") from error


def _clear(options: argparse.Namespace) -> int:
    settings = load_settings()
    open_key_file(settings).set_quotas(options.tenant, None)
    note(settings, "quotas.changed", tenant=options.tenant)
    return 0


def _list(options: argparse.Namespace) -> int:
    settings = load_settings()
    defaults = default_limits(settings)
    print(f"(default)  {_describe(defaults)}")
    for tenant, limits in open_key_file(settings).book().quotas.items():
        print(f"{tenant}  {_describe(limits.over(defaults))}")
    return 0


def _describe(limits: TenantLimits) -> str:
    values = limits.model_dump()
    return "  ".join(f"{name}={'none' if v is None else v}" for name, v in values.items())
