"""What callers asked and were told, with times: the evidence that the invariants are checked on."""

import itertools
import json
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]
FINAL = frozenset({"ok", "error", "timeout", "interrupted", "out_of_memory", "kernel_died", "lost"})
LIVE = frozenset({"starting", "ready"})
ENDED = frozenset({"closed", "expired", "lost"})


@dataclass(frozen=True, slots=True)
class Event:
    """One server-sent event; `id` is None for those that are not numbered."""

    id: int | None
    type: str
    data: Json


@dataclass(slots=True)
class Call:
    """One request. `status` None means that no answer came; `broken` says why one broke off."""

    kind: str
    tenant: str
    replica: str
    started: float
    ended: float = 0.0
    status: int | None = None
    body: Json = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    retry_after: str | None = None
    session_id: str = ""
    execution_id: str = ""
    broken: str = ""

    @property
    def is_ok(self) -> bool:
        return self.status is not None and self.status < 300 and not self.broken

    @property
    def took_s(self) -> float:
        return self.ended - self.started

    @property
    def error_code(self) -> str:
        return str(self.body.get("error", {}).get("code", "")) if self.body else ""

    def __str__(self) -> str:
        about = self.error_code or self.broken or self.body.get("status", "")
        return f"{self.kind} {self.session_id} {self.execution_id} -> {self.status} {about}"


@dataclass(slots=True)
class Reading:
    """The events of one execution as one reader got them, over all the connections that it took."""

    tenant: str
    session_id: str
    execution_id: str = ""
    events: list[Event] = field(default_factory=list)

    @property
    def last_id(self) -> int:
        return max((event.id for event in self.events if event.id is not None), default=0)

    @property
    def final(self) -> Json | None:
        """The record in execution.completed, if the reader came so far."""
        for event in self.events:
            if event.type == "execution.completed":
                return dict(event.data["execution"])
        return None


class History:
    """All calls of all callers of one cluster."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.readings: list[Reading] = []
        self.leaks: list[str] = []
        self.starts: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self.double_live: set[str] = set()
        self._tokens: dict[str, str] = {}
        self._numbers = itertools.count(1)

    def start_over(self) -> None:
        """The store was emptied: nothing told before binds anybody. Tokens and leaks are kept."""
        self.calls.clear()
        self.readings.clear()
        self.starts.clear()

    def tenant_token(self, tenant: str, token: str) -> None:
        """What only this tenant's answers may carry."""
        self._tokens[tenant] = token

    def next_mark(self) -> str:
        """A word for one execution, to see its starts by."""
        return f"mark{next(self._numbers):06d}"

    def begin(self, kind: str, tenant: str, replica: str, **ids: str) -> Call:
        call = Call(kind, tenant, replica, time.monotonic(), **ids)
        self.calls.append(call)
        return call

    def end(self, call: Call, text: str = "") -> None:
        """Note the answer's end, and whose tokens were in it."""
        call.ended = time.monotonic()
        for tenant, token in self._tokens.items():
            if tenant != call.tenant and token in text:
                self.leaks.append(f"{tenant}'s token in an answer to {call.tenant}: {call}")

    def note_starts(self, session_id: str, marks: list[str]) -> None:
        """What a session's own file says of the cells that started in it."""
        seen = Counter(marks)
        for mark, count in seen.items():
            self.starts[session_id][mark] = max(self.starts[session_id][mark], count)

    def executions_seen(self) -> list[tuple[float, float, str, Json]]:
        """(started, ended, replica, execution) for every execution that was in an answer."""
        return [
            (call.started, call.ended, call.replica, execution)
            for call in self.calls
            for execution in _executions_in(call)
        ]

    def statuses(self) -> Counter[str]:
        """How often each answer came, by kind."""
        return Counter(f"{call.kind} {call.status or call.broken}" for call in self.calls)


def _executions_in(call: Call) -> list[Json]:
    found = []
    if call.body.get("object") == "execution":
        found.append(call.body)
    if call.body.get("object") == "list":
        found.extend(one for one in call.body["data"] if one.get("object") == "execution")
    for event in call.events:
        if event.type in ("execution.started", "execution.completed"):
            found.append(event.data["execution"])
    return found


def result_of(execution: Json) -> str:
    """What of an execution never changes once it is final; links are signed anew with each answer."""
    artifacts = [{**item, "url": ""} for item in execution["artifacts"]]
    return json.dumps({**execution, "artifacts": artifacts}, sort_keys=True)


def shown(events: list[Event]) -> list[Json]:
    """The output nodes that a reader of these events has on the screen."""
    nodes: list[Json] = []
    for event in events:
        if event.type != "output":
            continue
        action, index, output = (event.data[name] for name in ("action", "index", "output"))
        if action == "clear":
            nodes = []
        elif action == "append":
            nodes.append(dict(output))
        elif action == "extend":
            nodes[index] = {**nodes[index], "text": nodes[index]["text"] + output["text"]}
        else:
            nodes[index] = dict(output)
    return nodes


def text_of(execution: Json) -> str:
    """The stream text and results of an execution."""
    nodes = execution.get("outputs", [])
    streams = [node["text"] for node in nodes if node["output_type"] == "stream"]
    results = [node["data"]["text/plain"] for node in nodes if "data" in node]
    return "".join(streams + results)
