"""`sandbox-service mcp`: the tools of a running service for an assistant on this computer."""

import argparse
import asyncio
from pathlib import Path

from sandbox_service.commands.keys import Commands
from sandbox_service.settings import SettingsError


def add_mcp(commands: "Commands[argparse.ArgumentParser]") -> None:
    """Add `mcp`."""
    serving = commands.add_parser(
        "mcp",
        help="serve MCP over stdio, for a desktop assistant",
        description="Speaks MCP on stdin and stdout, and talks to a running service: its address "
        "in SANDBOX_URL, a key of it in SANDBOX_API_KEY.",
    )
    serving.add_argument("--url", help="the service (SANDBOX_URL, default http://127.0.0.1:8000)")
    serving.add_argument(
        "--files",
        type=Path,
        metavar="FOLDER",
        help="a folder of this computer that the assistant may upload files from",
    )
    serving.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    # Here, so that the other commands need not have it.
    from sandbox_service.mcp.stdio import StdioOptions, serve_stdio

    folder: Path | None = options.files
    if folder is not None and not folder.is_dir():
        raise SettingsError(f"--files {folder} is not a folder")
    asyncio.run(serve_stdio(StdioOptions(options.url, folder)))
    return 0
