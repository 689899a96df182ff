"""What a turn of the assistant yields, for whatever shows it to a person."""

from dataclasses import dataclass, field
from typing import Literal

from runner.limits import TurnUsage
from runner.shape import Shaped
from sandbox_service.client import Artifact, ExecutionResult, OutputChanged

TurnReason = Literal[
    "answered",
    "no_answer",
    "step_limit",
    "time_limit",
    "token_limit",
    "cost_limit",
    "interrupted",
]


@dataclass(frozen=True, slots=True)
class TextDelta:
    """The next piece of the assistant's text."""

    text: str


@dataclass(frozen=True, slots=True)
class CodeDelta:
    """The next piece of code, while the model writes it; `call` counts the calls of its reply."""

    call: int
    text: str


@dataclass(frozen=True, slots=True)
class RetryWaiting:
    """The model's endpoint is busy, and is asked again after `wait_s` seconds."""

    reason: str
    wait_s: float


@dataclass(frozen=True, slots=True)
class CodeStarted:
    """Code that the assistant wrote is sent to the sandbox."""

    code: str


@dataclass(frozen=True, slots=True)
class OutputSeen:
    """The running code's outputs changed."""

    change: OutputChanged


@dataclass(frozen=True, slots=True)
class FileMade:
    """The running code made or changed a file."""

    artifact: Artifact


@dataclass(frozen=True, slots=True)
class CallFinished:
    """A tool call is over. `shaped` is what the model sees; no `result` when no code ran."""

    shaped: Shaped
    result: ExecutionResult | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class TurnFinished:
    """The turn is over; `text` is the assistant's last message."""

    text: str
    reason: TurnReason
    steps: int
    used: TurnUsage = field(default_factory=TurnUsage)


ToolEvent = CodeStarted | OutputSeen | FileMade | CallFinished
Event = TextDelta | CodeDelta | RetryWaiting | ToolEvent | TurnFinished
