"""What a turn may use and what it has used: tokens, money, time in the sandbox. Pure."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

PER_MILLION = 1_000_000
CHARS_PER_TOKEN = 4

LimitReached = Literal["token_limit", "cost_limit"]


@dataclass(frozen=True, slots=True)
class Price:
    """What a million tokens cost; `cached_input` None means as much as other input."""

    input: float
    output: float
    cached_input: float | None = None

    def of(self, usage: "Usage") -> float:
        """The cost of some use, in the currency of the price."""
        cached = self.input if self.cached_input is None else self.cached_input
        fresh = usage.input_tokens - usage.cached_tokens
        sums = fresh * self.input + usage.cached_tokens * cached + usage.output_tokens * self.output
        return sums / PER_MILLION


@dataclass(frozen=True, slots=True)
class Usage:
    """What the model's endpoint says was used; `is_estimated` where it did not say."""

    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    is_estimated: bool = False

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.cached_tokens + other.cached_tokens,
            self.is_estimated or other.is_estimated,
        )

    @property
    def tokens(self) -> int:
        """Input and output together."""
        return self.input_tokens + self.output_tokens


@dataclass(frozen=True, slots=True)
class TurnLimits:
    """Bounds of one turn; None is no bound.

    `steps` are calls of the model, `time_s` seconds in all, `images` pictures shown to the model
    at a time, `tokens` input and output of all steps, `cost` money, for which `price` is needed.
    """

    steps: int = 12
    time_s: float = 300.0
    images: int = 8
    tokens: int | None = None
    cost: float | None = None
    price: Price | None = None

    def __post_init__(self) -> None:
        if self.cost is not None and self.price is None:
            raise ValueError("a limit of cost needs the price of the model")


@dataclass(frozen=True, slots=True)
class TurnUsage:
    """What one turn used: of the model, and of the sandbox. `cost` None: no price is known."""

    model: Usage = field(default_factory=Usage)
    requests: int = 0
    executions: int = 0
    sandbox_s: float = 0.0
    cost: float | None = None


class Meter:
    """Counts what a turn uses, and says when a limit is reached."""

    def __init__(self, limits: TurnLimits) -> None:
        self._limits = limits
        self.used = TurnUsage(cost=0.0 if limits.price else None)

    def add_reply(self, usage: Usage) -> None:
        """Count one reply of the model."""
        model = self.used.model + usage
        requests = self.used.requests + 1
        self.used = replace(self.used, model=model, requests=requests, cost=self._cost(model))

    def add_execution(self, duration_s: float | None) -> None:
        """Count one cell that ran."""
        used = self.used
        time = used.sandbox_s + (duration_s or 0.0)
        self.used = replace(used, executions=used.executions + 1, sandbox_s=time)

    def limit_reached(self, writing_chars: int = 0) -> LimitReached | None:
        """The limit that is reached, counting `writing_chars` of a reply that is still written."""
        model = self.used.model + Usage(output_tokens=writing_chars // CHARS_PER_TOKEN)
        if self._limits.tokens is not None and model.tokens >= self._limits.tokens:
            return "token_limit"
        cost = self._cost(model)
        if cost is not None and self._limits.cost is not None and cost >= self._limits.cost:
            return "cost_limit"
        return None

    def _cost(self, model: Usage) -> float | None:
        return self._limits.price.of(model) if self._limits.price else None


def estimated_usage(read_chars: int, written_chars: int) -> Usage:
    """The usage of a reply whose endpoint does not count."""
    read, written = read_chars // CHARS_PER_TOKEN, written_chars // CHARS_PER_TOKEN
    return Usage(read, written, is_estimated=True)


def read_prices(path: Path) -> dict[str, Price]:
    """A table of prices: `{"model": {"input": 2.0, "output": 8.0, "cached_input": 0.5}}`.

    Per million tokens. Raises ValueError when it is anything else, OSError.
    """
    try:
        table: Mapping[str, Mapping[str, Any]] = json.loads(path.read_text())
        return {model: Price(**price) for model, price in table.items()}
    except (ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is no table of prices: {error}") from error
