"""The outputs of a running execution, put together from its events."""

from sandbox_service.client.events import Event, EventsSkipped, ExecutionCompleted, OutputChanged
from sandbox_service.client.outputs import Output


class LiveOutputs:
    """Holds the outputs as they are now; `add` takes every event of one execution, in order.

    After a gap changes cannot be placed: `outputs` stands still, and is not `is_current`, until
    the list is cleared or the final result comes, which is whole.
    """

    def __init__(self) -> None:
        self.is_current = True
        self._outputs: list[Output] = []
        # Text that grows line by line is joined when somebody looks, not with every line.
        self._tails: dict[int, list[str]] = {}

    @property
    def outputs(self) -> list[Output]:
        """The nodes as they are now."""
        for index, tail in self._tails.items():
            node = self._outputs[index]
            self._outputs[index] = {**node, "text": "".join([node["text"], *tail])}
        self._tails.clear()
        return self._outputs

    def add(self, event: Event) -> None:
        """Take note of an event. Raises ProtocolError for a change that does not fit."""
        match event:
            case OutputChanged():
                self.is_current |= event.action == "clear"
                if self.is_current:
                    self._change(event)
            case EventsSkipped():
                self.is_current = False
            case ExecutionCompleted(result=result):
                self.outputs[:] = result.outputs
                self.is_current = True

    def _change(self, event: OutputChanged) -> None:
        node = self._outputs[event.index] if 0 <= event.index < len(self._outputs) else {}
        text = event.output.get("text")
        if event.action == "extend" and "text" in node and isinstance(text, str):
            self._tails.setdefault(event.index, []).append(text)
        else:
            event.apply(self.outputs)
