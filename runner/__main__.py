"""One question, answered in a terminal: `python -m runner "question" --file data.csv`.

`python -m runner chat` talks instead. Exit status: 0 answered, 1 failed, 2 wrong usage,
3 stopped at a limit, 130 interrupted.
"""

import argparse
import asyncio
import sys
from pathlib import Path

from runner.answer import Answer, Question, answer, model_or_script, script_for
from runner.model import ModelFailed
from runner.options import OptionError, add_options, endpoint_of, limits_of
from runner.terminal import Terminal, standard_terminal
from runner.turn import WHY
from sandbox_service.client import ClientError, SandboxClient, ServiceUnreachable, Unauthenticated
from sandbox_service.client.text import size_text

ANSWERED, FAILED, STOPPED, INTERRUPTED = 0, 1, 3, 130


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    given = sys.argv[1:] if arguments is None else arguments
    if given[:1] == ["chat"]:
        from runner.chat.main import chat  # here, so that one question needs no `chat` extra

        return chat(given[1:])
    options = _parser().parse_args(given)
    if missing := [path for path in options.file if not path.is_file()]:
        return _fail(f"no such file: {', '.join(map(str, missing))}")
    try:
        return asyncio.run(_run(options))
    except KeyboardInterrupt:
        return INTERRUPTED
    except ServiceUnreachable as error:
        return _fail(f"{error}. Start the service with `make serve`, or name another with --url.")
    except Unauthenticated as error:
        return _fail(
            f"the service refused the key: {error.message}. Set SANDBOX_API_KEY or --api-key."
        )
    except (ModelFailed, ClientError, OptionError, OSError) as error:
        return _fail(str(error))


async def _run(options: argparse.Namespace) -> int:
    terminal = standard_terminal()
    config = endpoint_of(options)
    limits = limits_of(options, config)
    question = Question(options.question, tuple(options.file), options.out, limits)
    script = options.model or script_for(options.file)
    if config is None:
        terminal.line(
            f"No OPENAI_API_KEY: the scripted model plays '{script}', whatever is asked.\n"
        )
    async with (
        model_or_script(config, script) as endpoint,
        SandboxClient(options.url, options.api_key) as client,
    ):
        await client.is_ready()
        return _report(await answer(question, client, endpoint, terminal), terminal)


def _report(result: Answer, terminal: Terminal) -> int:
    terminal.line("")
    for path in result.saved:
        terminal.line(f"{path}  {size_text(path.stat().st_size)}")
    if result.turn.reason == "answered":
        return ANSWERED
    print(f"runner: stopped: {WHY[result.turn.reason]}", file=sys.stderr)
    return STOPPED


def _fail(message: str) -> int:
    print(f"runner: {message}", file=sys.stderr)
    return FAILED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m runner", description=__doc__)
    add = parser.add_argument
    add("question")
    add("--file", type=Path, action="append", default=[], help="a file to work on; repeatable")
    add("--out", type=Path, default=Path("results"), help="where files and charts go (results/)")
    add_options(parser)
    return parser


if __name__ == "__main__":
    sys.exit(main())
