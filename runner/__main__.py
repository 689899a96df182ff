"""One question, answered in a terminal: `python -m runner "question" --file data.csv`.

Exit status: 0 answered, 1 failed, 2 wrong usage, 3 stopped at a limit, 130 interrupted.
"""

import argparse
import asyncio
import sys
from pathlib import Path

from runner.answer import Answer, Question, answer, model_or_script, script_for
from runner.config import TurnLimits, model_config
from runner.model import ModelFailed
from runner.terminal import Terminal, standard_terminal
from runner.text import size_text
from sandbox_service.client import ClientError, SandboxClient, ServiceUnreachable, Unauthenticated

DEFAULT_LIMITS = TurnLimits()
ANSWERED, FAILED, STOPPED, INTERRUPTED = 0, 1, 3, 130


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    options = _parser().parse_args(arguments)
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
    except (ModelFailed, ClientError, OSError) as error:
        return _fail(str(error))


async def _run(options: argparse.Namespace) -> int:
    terminal = standard_terminal()
    config = model_config(options.base_url, options.key, options.model)
    limits = TurnLimits(steps=options.max_steps, time_s=options.time_limit)
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
    limit = "steps" if result.turn.reason == "step_limit" else "time"
    print(f"runner: stopped at the limit of {limit}", file=sys.stderr)
    return STOPPED


def _fail(message: str) -> int:
    print(f"runner: {message}", file=sys.stderr)
    return FAILED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m runner", description=(__doc__ or "").split("\n")[0]
    )
    add = parser.add_argument
    add("question")
    add("--file", type=Path, action="append", default=[], help="a file to work on; repeatable")
    add("--out", type=Path, default=Path("results"), help="where files and charts go (results/)")
    add("--url", help="the sandbox service (SANDBOX_URL, http://127.0.0.1:8000)")
    add("--api-key", help="its key (SANDBOX_API_KEY)")
    add("--base-url", help="the chat endpoint (OPENAI_BASE_URL)")
    add("--key", help="its key (OPENAI_API_KEY)")
    add("--model", help="the model (RUNNER_MODEL); without a key, the name of a script")
    add("--max-steps", type=int, default=DEFAULT_LIMITS.steps, help="calls of the model (12)")
    add("--time-limit", type=float, default=DEFAULT_LIMITS.time_s, help="seconds in all (300)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
