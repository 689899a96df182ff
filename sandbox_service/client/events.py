"""The events of one execution as typed values, in the order of their numbers."""

import json
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Literal

from sandbox_service.client.errors import ProtocolError, api_error
from sandbox_service.client.outputs import Output
from sandbox_service.client.parsing import parse_artifact, parse_execution
from sandbox_service.client.results import Artifact, ExecutionResult
from sandbox_service.client.sse import ServerSentEvent, parse_events
from sandbox_service.client.transport import Transport


@dataclass(frozen=True, slots=True)
class ExecutionStarted:
    """The code begins to run."""

    id: int
    execution_id: str
    session_id: str = ""


@dataclass(frozen=True, slots=True)
class OutputChanged:
    """The list of outputs changed: see `apply`, or `LiveOutputs` that minds gaps too."""

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
class EventsSkipped:
    """Events `from_id` to `to_id` are no longer kept. The final result is whole all the same."""

    id: int
    from_id: int
    to_id: int
    reason: str


@dataclass(frozen=True, slots=True)
class ExecutionCompleted:
    """The last event: everything, once more, in its final form."""

    id: int
    result: ExecutionResult


Event = ExecutionStarted | OutputChanged | ArtifactMade | EventsSkipped | ExecutionCompleted


@dataclass(frozen=True, slots=True)
class Interruption:
    """The service ends the stream here, and the execution goes on: ask for the rest.

    The ids are empty when the service did not say them.
    """

    reason: str
    session_id: str = ""
    execution_id: str = ""


_EVENTS_PATH = re.compile(r"/v1/sessions/([^/]+)/executions/([^/]+)/events(?:\?.*)?$")


async def read_events(
    chunks: AsyncIterator[bytes], transport: Transport
) -> AsyncIterator[Event | Interruption]:
    """Yield events as they come, to the end of the stream or of the execution.

    Raises the ApiError that is sent in the stream, and ProtocolError.
    """
    async for sent in parse_events(chunks):
        event = _typed(sent, transport)
        if event is not None:
            yield event
        if isinstance(event, ExecutionCompleted | Interruption):
            return


def _typed(sent: ServerSentEvent, transport: Transport) -> Event | Interruption | None:
    """The event as a value; None for a kind that this client does not know."""
    try:
        return _read(sent.event, sent.id, json.loads(sent.data), transport)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ProtocolError(f"an event that cannot be read: {error!r}") from error


def _read(name: str, number: str, data: Any, transport: Transport) -> Event | Interruption | None:
    match name:
        case "execution.started":
            started = data["execution"]
            return ExecutionStarted(int(number), started["id"], started.get("session_id", ""))
        case "output":
            output = data.get("output") or {}
            return OutputChanged(int(number), data["action"], int(data["index"]), output)
        case "artifact":
            return ArtifactMade(int(number), parse_artifact(data["artifact"], transport))
        case "execution.completed":
            return ExecutionCompleted(int(number), parse_execution(data["execution"], transport))
        case "gap":
            first, last = int(data["from_id"]), int(data["to_id"])
            return EventsSkipped(int(number), first, last, str(data.get("reason", "")))
        case "stream.interrupted":
            return _interruption(data)
        case "error":
            raise api_error(data)
    return None


def _interruption(data: Any) -> Interruption:
    """Of the URL only the ids are taken: where the service is, the caller said."""
    found = _EVENTS_PATH.search(str(data.get("events_url") or ""))
    ids = found.groups() if found else ("", "")
    return Interruption(str(data.get("reason", "")), *ids)
