"""The outputs of a running execution, put together from its events."""

from dataclasses import dataclass, field

from sandbox_service.client.events import Event, EventsSkipped, ExecutionCompleted, OutputChanged
from sandbox_service.client.outputs import Output


@dataclass(slots=True)
class LiveOutputs:
    """Holds the outputs as they are now; `add` takes every event of one execution, in order.

    After a gap changes cannot be placed: `outputs` stands still, and is not `is_current`, until
    the list is cleared or the final result comes, which is whole.
    """

    outputs: list[Output] = field(default_factory=list)
    is_current: bool = True

    def add(self, event: Event) -> None:
        """Take note of an event. Raises ProtocolError for a change that does not fit."""
        match event:
            case OutputChanged():
                self.is_current |= event.action == "clear"
                if self.is_current:
                    event.apply(self.outputs)
            case EventsSkipped():
                self.is_current = False
            case ExecutionCompleted(result=result):
                self.outputs[:] = result.outputs
                self.is_current = True
