"""The command line's options for a model, a service and the limits of a turn."""

import argparse
from pathlib import Path

from runner.config import ModelConfig, model_config
from runner.limits import Price, TurnLimits, read_prices

DEFAULT_LIMITS = TurnLimits()


class OptionError(Exception):
    """The options do not fit together; the message says why."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what every way of asking understands."""
    add = parser.add_argument
    add("--url", help="the sandbox service (SANDBOX_URL, http://127.0.0.1:8000)")
    add("--api-key", help="its key (SANDBOX_API_KEY)")
    add("--base-url", help="the chat endpoint (OPENAI_BASE_URL)")
    add("--key", help="its key (OPENAI_API_KEY)")
    add("--model", help="the model (RUNNER_MODEL); without a key, the name of a script")
    add("--max-steps", type=int, default=DEFAULT_LIMITS.steps, help="calls of the model (12)")
    add("--time-limit", type=float, default=DEFAULT_LIMITS.time_s, help="seconds in all (300)")
    add("--max-tokens", type=int, help="tokens of one turn, read and written")
    add("--max-cost", type=float, help="money that one turn may cost, by --prices")
    per_million = '{"model": {"input": 2.0, "output": 8.0}}'
    add("--prices", type=Path, help=f"a JSON file of prices per million tokens: {per_million}")


def endpoint_of(options: argparse.Namespace) -> ModelConfig | None:
    """The chat endpoint that is asked for; None when there is none."""
    return model_config(options.base_url, options.key, options.model)


def limits_of(options: argparse.Namespace, config: ModelConfig | None) -> TurnLimits:
    """The limits of a turn. Raises OptionError, OSError."""
    try:
        return TurnLimits(
            steps=options.max_steps,
            time_s=options.time_limit,
            tokens=options.max_tokens,
            cost=options.max_cost,
            price=_price(options, config.model if config else options.model),
        )
    except ValueError as error:
        raise OptionError(str(error)) from error


def _price(options: argparse.Namespace, model: str | None) -> Price | None:
    if options.prices is None:
        return None
    prices = read_prices(options.prices)
    if options.max_cost is not None and model not in prices:
        raise OptionError(f"{options.prices} has no price for {model}, so --max-cost cannot hold")
    return prices.get(model or "")
