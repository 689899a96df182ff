"""The events of one execution as typed values, in the order of their numbers."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Literal

from sandbox_service.client.errors import ProtocolError, StreamBroken, api_error
from sandbox_service.client.parsing import parse_artifact, parse_execution
from sandbox_service.client.results import Artifact, ExecutionResult, Output
from sandbox_service.client.sse import ServerSentEvent, parse_events
from sandbox_service.client.transport import Transport


@dataclass(frozen=True, slots=True)
class ExecutionStarted:
    """The code begins to run."""

    id: int
    execution_id: str


@dataclass(frozen=True, slots=True)
class OutputChanged:
    """The list of outputs changed: see `apply`."""

    id: int
    action: Literal["append", "extend", "replace", "clear"]
    index: int
    output: Output

    def apply(self, outputs: list[Output]) -> None:
        """Make the same change to `outputs`. Raises ProtocolError when it does not fit."""
        try:
            self._change(outputs)
        except (IndexError, KeyError) as error:
            raise ProtocolError(f"output {self.index} cannot be changed: {error!r}") from error

    def _change(self, outputs: list[Output]) -> None:
        if self.action == "clear":
            outputs.clear()
        elif self.action == "append":
            outputs.insert(self.index, dict(self.output))
        elif self.action == "replace":
            outputs[self.index] = dict(self.output)
        else:
            node = outputs[self.index]
            outputs[self.index] = {**node, "text": node["text"] + self.output["text"]}


@dataclass(frozen=True, slots=True)
class ArtifactMade:
    """A file was made or changed."""

    id: int
    artifact: Artifact


@dataclass(frozen=True, slots=True)
class ExecutionCompleted:
    """The last event: everything, once more, in its final form."""

    id: int
    result: ExecutionResult


Event = ExecutionStarted | OutputChanged | ArtifactMade | ExecutionCompleted


async def read_events(
    lines: AsyncIterator[str], transport: Transport, after: int = 0
) -> AsyncIterator[Event]:
    """Yield events up to ExecutionCompleted.

    Raises the ApiError that is sent in the stream, StreamBroken when it ends early.
    """
    execution_id, last_id = None, after
    async for sent in parse_events(lines):
        event = _typed(sent, transport)
        if event is None:
            continue
        last_id = event.id
        if isinstance(event, ExecutionStarted):
            execution_id = event.execution_id
        yield event
        if isinstance(event, ExecutionCompleted):
            return
    raise StreamBroken(execution_id, last_id)


def _typed(sent: ServerSentEvent, transport: Transport) -> Event | None:
    """The event as a value; None for a kind that this client does not know."""
    try:
        data: Any = json.loads(sent.data)
        if sent.event == "error":
            raise api_error(data)
        number = int(sent.id)
        if sent.event == "execution.started":
            return ExecutionStarted(number, data["execution"]["id"])
        if sent.event == "output":
            output = data.get("output") or {}
            return OutputChanged(number, data["action"], int(data["index"]), output)
        if sent.event == "artifact":
            return ArtifactMade(number, parse_artifact(data["artifact"], transport))
        if sent.event == "execution.completed":
            return ExecutionCompleted(number, parse_execution(data["execution"], transport))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ProtocolError(f"an event that cannot be read: {error!r}") from error
    return None
