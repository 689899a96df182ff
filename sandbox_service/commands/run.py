"""`sandbox-service run script.py --file in.csv --out results/`: one script in a sandbox of its own.

Exit status: that of the script; 124 when its time was over, 130 when it was interrupted, 137 when
it needed too much memory, 125 when the service could not run it, 2 for a wrong command line.
"""

import argparse
import asyncio
import os
import signal
import sys
import tokenize
from collections.abc import Iterator
from contextlib import aclosing, contextmanager, suppress
from pathlib import Path

from sandbox_service.client import (
    Artifact,
    ClientError,
    ExecutionCompleted,
    ExecutionResult,
    OutputChanged,
    ProtocolError,
    SandboxClient,
    Session,
    SessionOptions,
)
from sandbox_service.commands.keys import Commands
from sandbox_service.commands.script_output import ScriptOutput
from sandbox_service.settings import SettingsError

FAILED_HERE = 125
ENDINGS = {"ok": 0, "timeout": 124, "interrupted": 130, "out_of_memory": 137}


def add_run(commands: "Commands[argparse.ArgumentParser]") -> None:
    """Add `run` and its options."""
    running = commands.add_parser("run", help="run one script in a sandbox of its own")
    add = running.add_argument
    add("script", help="the Python file; - for standard input")
    add("--file", type=Path, action="append", default=[], help="a file that it needs; repeatable")
    add("--out", type=Path, help="where the files that it makes are saved")
    add("--timeout", type=float, metavar="SECONDS", help="longest time it may run")
    add("--template", help="the sandbox to run it in")
    add("--url", help="the service (SANDBOX_URL, http://127.0.0.1:8000)")
    running.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    """Run the script; our own failures are one sentence, and no status of the script's."""
    code = _source(options)
    try:
        return asyncio.run(_run_code(code, options))
    except (KeyboardInterrupt, asyncio.CancelledError):
        return ENDINGS["interrupted"]
    except BrokenPipeError:
        # Nobody reads any more; the interpreter would complain once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except (ClientError, OSError) as error:
        print(f"sandbox-service: {error}", file=sys.stderr)
        return FAILED_HERE


def _source(options: argparse.Namespace) -> str:
    """The code to run. Raises SettingsError when a file is not there."""
    if missing := [str(path) for path in options.file if not path.is_file()]:
        raise SettingsError(f"no such file: {', '.join(missing)}")
    try:
        if options.script == "-":
            return sys.stdin.read()
        with tokenize.open(options.script) as script:
            return script.read()
    except (OSError, SyntaxError, UnicodeDecodeError) as error:
        raise SettingsError(f"{options.script} cannot be read: {error}") from error


async def _run_code(code: str, options: argparse.Namespace) -> int:
    output = ScriptOutput(sys.stdout, sys.stderr)
    async with (
        SandboxClient(options.url) as client,
        client.open_session(**_session_options(options)) as session,
    ):
        for path in options.file:
            await session.upload(path)
        if options.script != "-":
            await _name_script(session, Path(options.script), options.file)
        result = await _streamed(session, code, options.timeout, output)
        await _save(result, options.out)
    return exit_status(result)


async def _name_script(session: Session, script: Path, files: list[Path]) -> None:
    """The script knows its own name and place, as do processes that it starts."""
    if script.name not in [path.name for path in files]:
        await session.upload(script)
    await session.execute(
        f"import os, sys; __file__ = os.path.abspath({script.name!r}); sys.argv = [__file__]\n"
        "del os, sys"
    )


def _session_options(options: argparse.Namespace) -> SessionOptions:
    asked = SessionOptions()
    if options.template:
        asked["template"] = options.template
    if options.timeout:
        asked["limits"] = {"execution_timeout_s": options.timeout}
    return asked


async def _streamed(
    session: Session, code: str, timeout_s: float | None, output: ScriptOutput
) -> ExecutionResult:
    """Run the code and show what it prints, when it prints it."""
    with _signals_interrupt(session):
        async with aclosing(session.stream(code, timeout_s)) as events:
            async for event in events:
                if isinstance(event, OutputChanged):
                    output.show(event)
    if not isinstance(event, ExecutionCompleted):
        raise ProtocolError("the events ended before the script did")
    output.end(event.result)
    return event.result


@contextmanager
def _signals_interrupt(session: Session) -> Iterator[None]:
    """Ctrl-C interrupts the script, a second one leaves; so does a polite kill."""
    loop, main = asyncio.get_running_loop(), asyncio.current_task()
    assert main is not None
    asked: list[asyncio.Task[None]] = []

    def interrupt() -> None:
        if asked:
            main.cancel()
        else:
            asked.append(asyncio.create_task(_interrupt(session)))

    loop.add_signal_handler(signal.SIGINT, interrupt)
    loop.add_signal_handler(signal.SIGTERM, main.cancel)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGINT)
        loop.remove_signal_handler(signal.SIGTERM)


async def _interrupt(session: Session) -> None:
    with suppress(ClientError):
        await session.interrupt()


async def _save(result: ExecutionResult, directory: Path | None) -> None:
    """Save what was made, and say on standard error where it is."""
    if directory is None:
        if result.artifacts:
            names = ", ".join(repr(artifact.path) for artifact in result.artifacts)
            print(f"not saved, since there is no --out: {names}", file=sys.stderr)
        return
    for artifact in result.artifacts:
        print(await _saved(artifact, directory), file=sys.stderr)


async def _saved(artifact: Artifact, directory: Path) -> str:
    try:
        return f"saved {await artifact.save(directory)}"
    except ProtocolError as error:
        return f"not saved: {error}"


def exit_status(result: ExecutionResult) -> int:
    """The status that the script would have had here."""
    if result.status in ENDINGS:
        return ENDINGS[result.status]
    error = result.error
    if error is None or error.name != "SystemExit":
        return 1
    if error.value in ("", "None"):
        return 0
    return int(error.value) % 256 if error.value.lstrip("-").isdecimal() else 1
