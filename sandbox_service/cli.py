"""The command line: `sandbox-service serve` and what an operator needs beside it."""

import argparse
import asyncio
import socket
import sys
from collections.abc import Sequence

import uvloop

from sandbox_service import __version__
from sandbox_service.commands.audit import add_audit
from sandbox_service.commands.doctor import add_doctor
from sandbox_service.commands.keys import add_keys
from sandbox_service.commands.mcp import add_mcp
from sandbox_service.commands.quotas import add_quotas
from sandbox_service.commands.run import add_run
from sandbox_service.domain.errors import ServiceError
from sandbox_service.domain.extras import MissingExtra
from sandbox_service.listening import listen, take_all_descriptors
from sandbox_service.settings import SettingsError, load_settings


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the process's exit status. A refusal is one sentence on stderr."""
    options = _parser().parse_args(arguments)
    try:
        return int(options.run(options))
    except (SettingsError, ServiceError, MissingExtra) as error:
        print(f"sandbox-service: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="sandbox-service", description=__doc__)
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="command")
    serving = commands.add_parser("serve", help="start the service")
    serving.add_argument("--host", help="address to listen on (SANDBOX_HOST, default 127.0.0.1)")
    serving.add_argument("--port", type=int, help="port to listen on (SANDBOX_PORT, default 8000)")
    serving.add_argument(
        "--workers", type=int, help="service processes behind the port, over SANDBOX_REDIS_URL"
    )
    serving.add_argument(
        "--on-stop", choices=("keep", "remove"), help="what becomes of sandboxes (default keep)"
    )
    serving.add_argument("--worker-of", type=int, help=argparse.SUPPRESS)
    serving.set_defaults(run=_serve)
    for add in (add_keys, add_quotas, add_audit, add_doctor, add_mcp, add_run):
        add(commands)
    return parser


def _serve(options: argparse.Namespace) -> int:
    # Here, so that the other commands do not wait for all that a service is made of.
    from sandbox_service.app import serve, with_a_key
    from sandbox_service.supervisor import supervise

    given = {name: getattr(options, name) for name in ("host", "port", "workers", "on_stop")}
    settings = load_settings(**{name: value for name, value in given.items() if value is not None})
    take_all_descriptors()
    if options.worker_of is not None:
        with socket.socket(fileno=options.worker_of) as listener:
            uvloop.run(serve(settings, listener, is_one_of_several=True))
    elif settings.workers > 1:
        asyncio.run(supervise(with_a_key(settings)))
    else:
        with listen(settings) as listener:
            uvloop.run(serve(settings, listener))
    return 0
