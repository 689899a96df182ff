"""`sandbox-service audit verify`: is the audit log whole, and as it was written?"""

import argparse
import sys
from pathlib import Path

from sandbox_service.commands.keys import Commands
from sandbox_service.settings import SettingsError, load_settings
from sandbox_service.tenants.audit_chain import Head
from sandbox_service.tenants.audit_files import Verdict, audit_files, verify
from sandbox_service.tenants.opening import audit_directory


def add_audit(commands: "Commands[argparse.ArgumentParser]") -> None:
    """Add `audit` and what it can do."""
    audit = commands.add_parser("audit", help="check the audit log")
    actions = audit.add_subparsers(required=True, metavar="action")
    verifying = actions.add_parser("verify", help="check the chain; exit status 1 if it is broken")
    verifying.add_argument("directory", nargs="?", type=Path, help="default: the service's own")
    verifying.add_argument(
        "--head",
        type=_head,
        metavar="SEQ:HASH",
        help="a head printed earlier, which the log must still hold",
    )
    verifying.set_defaults(run=_verify)


def _head(text: str) -> Head:
    seq, _, digest = text.partition(":")
    if not seq.isdecimal() or len(digest) != 64:
        raise argparse.ArgumentTypeError(f"{text!r} is no head such as 12:3f5a...")
    return Head(int(seq), digest)


def _verify(options: argparse.Namespace) -> int:
    directory = options.directory or audit_directory(load_settings())
    try:
        if not audit_files(directory):
            raise SettingsError(f"there is no audit log in {directory}")
        return _tell(verify(directory, options.head))
    except OSError as error:
        raise SettingsError(f"{directory} cannot be read: {error.strerror}") from error


def _tell(verdict: Verdict) -> int:
    if verdict.fault is not None:
        print(f"broken after {verdict.lines} good lines: {verdict.fault}", file=sys.stderr)
        return 1
    print(f"{verdict.lines} lines hold, head {verdict.head}")
    if verdict.first_seq > 1:
        print(f"the log begins with line {verdict.first_seq}: older files are elsewhere")
    return 0
