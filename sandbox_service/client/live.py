"""The outputs of a running execution, put together from its events."""

from dataclasses import dataclass, field

from sandbox_service.client.events import Event, EventsSkipped, ExecutionCompleted, OutputChanged
from sandbox_service.client.outputs import Output


@dataclass(slots=True)
class LiveOutputs:
    """Holds the outputs as they are now; `add` takes every event of one execution, in order.

    After a gap later changes say nothing by themselves: `outputs` stands still until the final
    result comes, and is whole then.
    """

    outputs: list[Output] = field(default_factory=list)
    is_whole: bool = True

    def add(self, event: Event) -> None:
        """Take note of an event. Raises ProtocolError for a change that does not fit."""
        match event:
            case OutputChanged() if self.is_whole:
                event.apply(self.outputs)
            case EventsSkipped():
                self.is_whole = False
            case ExecutionCompleted(result=result):
                self.outputs[:] = result.outputs
                self.is_whole = True
