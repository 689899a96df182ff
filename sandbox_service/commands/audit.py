"""`sandbox-service audit verify|tail`: is the audit log whole, as it was written, and what happened last?"""

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sandbox_service.commands.keys import Commands
from sandbox_service.settings import SettingsError, load_settings
from sandbox_service.tenants.audit_chain import Head
from sandbox_service.tenants.audit_files import Verdict
from sandbox_service.tenants.audit_log import (
    LogVerdict,
    chain_directories,
    lines_by_time,
    verify_log,
)
from sandbox_service.tenants.opening import audit_directory


def add_audit(commands: "Commands[argparse.ArgumentParser]") -> None:
    """Add `audit` and what it can do."""
    audit = commands.add_parser("audit", help="check and read the audit log")
    actions = audit.add_subparsers(required=True, metavar="action")
    _add_verify(actions)
    _add_tail(actions)


def _add_verify(actions: "Commands[argparse.ArgumentParser]") -> None:
    verifying = actions.add_parser(
        "verify", help="check the chains; exit status 1 if one is broken"
    )
    _add_directory(verifying)
    verifying.add_argument(
        "--head",
        type=_head,
        action="append",
        default=[],
        metavar="SEQ:HASH",
        help="a head printed earlier, which the log must still hold; may be repeated",
    )
    verifying.set_defaults(run=_verify)


def _add_tail(actions: "Commands[argparse.ArgumentParser]") -> None:
    showing = actions.add_parser(
        "tail", help="print the last events of all processes, as JSON lines"
    )
    _add_directory(showing)
    showing.add_argument(
        "-n", "--lines", type=_count, default=20, metavar="N", help="how many, or all; default: 20"
    )
    showing.set_defaults(run=_tail)


def _add_directory(action: argparse.ArgumentParser) -> None:
    action.add_argument("directory", nargs="?", type=Path, help="default: the service's own")


def _head(text: str) -> Head:
    seq, _, digest = text.partition(":")
    if not seq.isdecimal() or len(digest) != 64:
        raise argparse.ArgumentTypeError(f"{text!r} is no head such as 12:3f5a...")
    return Head(int(seq), digest)


def _count(text: str) -> int | None:
    if text != "all" and not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is no number, nor all")
    return None if text == "all" else int(text)


def _verify(options: argparse.Namespace) -> int:
    with _readable_log(options) as directory:
        return _tell(verify_log(directory, options.head))


def _tail(options: argparse.Namespace) -> int:
    with _readable_log(options) as directory:
        for line in lines_by_time(directory, options.lines):
            sys.stdout.write(line.decode("utf-8", "replace"))
    return 0


@contextmanager
def _readable_log(options: argparse.Namespace) -> Iterator[Path]:
    directory = options.directory or audit_directory(load_settings())
    try:
        if not chain_directories(directory):
            raise SettingsError(f"there is no audit log in {directory}")
        yield directory
    except OSError as error:
        raise SettingsError(f"{directory} cannot be read: {error.strerror}") from error


def _tell(log: LogVerdict) -> int:
    for name, verdict in log.chains.items():
        _tell_chain(f"{name}: " if len(log.chains) > 1 else "", verdict)
    for head in log.missing:
        print(f"head {head} is not in the log: it was cut or written anew", file=sys.stderr)
    return 0 if log.holds else 1


def _tell_chain(name: str, verdict: Verdict) -> None:
    if verdict.fault is not None:
        print(f"{name}broken after {verdict.lines} good lines: {verdict.fault}", file=sys.stderr)
        return
    print(f"{name}{verdict.lines} lines hold, head {verdict.head}")
    if verdict.first_seq > 1:
        print(f"{name}the log begins with line {verdict.first_seq}: older files are elsewhere")
