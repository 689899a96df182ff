"""Jupyter messages become nbformat outputs: a table, then the rules that need several steps."""

from dataclasses import dataclass, field
from typing import Any

import nbformat
import orjson
import pytest

from sandbox_service.domain.json_values import embedded
from sandbox_service.domain.ports import KernelMessage, MessageGap
from sandbox_service.kernels.errors import MAX_ERROR_BYTES
from sandbox_service.kernels.outputs import OutputReducer

PNG = "iVBORw0KGgo="


def message(msg_type: str, content: Any) -> KernelMessage:
    channel = "shell" if msg_type == "execute_reply" else "iopub"
    return KernelMessage(1, channel, msg_type, content)  # type: ignore[arg-type]


def stream(text: Any, name: Any = "stdout") -> KernelMessage:
    return message("stream", {"name": name, "text": text})


def display(data: Any, display_id: Any = None, metadata: Any = None) -> KernelMessage:
    content = {"data": data, "metadata": metadata, "transient": {"display_id": display_id}}
    return message("display_data", content)


def update(data: Any, display_id: Any) -> KernelMessage:
    content = {"data": data, "metadata": {}, "transient": {"display_id": display_id}}
    return message("update_display_data", content)


def result(data: Any, count: Any = 1) -> KernelMessage:
    return message("execute_result", {"data": data, "metadata": {}, "execution_count": count})


def error(evalue: Any = "no", traceback: Any = ()) -> KernelMessage:
    return message("error", {"ename": "ValueError", "evalue": evalue, "traceback": list(traceback)})


def clear(wait: Any = False) -> KernelMessage:
    return message("clear_output", {"wait": wait})


def text_node(text: str, name: str = "stdout") -> dict[str, Any]:
    return {"output_type": "stream", "name": name, "text": text}


def display_node(data: dict[str, Any], metadata: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"output_type": "display_data", "data": data, "metadata": metadata or {}}


def result_node(data: dict[str, Any], count: int | None = 1) -> dict[str, Any]:
    node = {"output_type": "execute_result", "data": data, "metadata": {}}
    return {**node, "execution_count": count}


def error_node(evalue: str = "no", traceback: tuple[str, ...] = ()) -> dict[str, Any]:
    texts = {"ename": "ValueError", "evalue": evalue, "traceback": list(traceback)}
    return {"output_type": "error", **texts}


@dataclass
class Case:
    messages: list[Any]
    outputs: list[dict[str, Any]]
    budget: int = 10_000
    truncated: bool = False
    max_outputs: int = 2000
    actions: list[str] | None = None


deep: Any = []
for _ in range(200):
    deep = [deep]


@dataclass
class Opaque:
    """Not JSON."""

    member: set[int] = field(default_factory=set)


CASES = {
    "nothing": Case([], []),
    "one print": Case([stream("1\n")], [text_node("1\n")], actions=["append"]),
    "text of one stream is joined": Case(
        [stream("a"), stream("b"), stream("c")],
        [text_node("abc")],
        actions=["append"] + ["extend"] * 2,
    ),
    "another stream starts another node": Case(
        [stream("a"), stream("b", "stderr"), stream("c")],
        [text_node("a"), text_node("b", "stderr"), text_node("c")],
    ),
    "a display between streams parts them": Case(
        [stream("a"), display({"text/plain": "x"}), stream("b")],
        [text_node("a"), display_node({"text/plain": "x"}), text_node("b")],
    ),
    "empty text makes no node": Case([stream("")], [], actions=[]),
    "carriage returns stay": Case([stream("1\r2\r\n")], [text_node("1\r2\r\n")]),
    "figure": Case(
        [
            display(
                {"image/png": PNG, "text/plain": "<Figure>"}, metadata={"image/png": {"width": 9}}
            )
        ],
        [display_node({"image/png": PNG, "text/plain": "<Figure>"}, {"image/png": {"width": 9}})],
    ),
    "result": Case([result({"text/plain": "42"}, 7)], [result_node({"text/plain": "42"}, 7)]),
    "result without a count takes the cell's": Case(
        [message("execute_input", {"execution_count": 3}), result({"text/plain": "x"}, "junk")],
        [result_node({"text/plain": "x"}, 3)],
    ),
    "result without any count": Case(
        [result({"text/plain": "x"}, None)], [result_node({"text/plain": "x"}, None)]
    ),
    "JSON types keep their structure": Case(
        [
            display(
                {
                    "application/vnd.plotly.v1+json": {"data": [1, {"y": None}]},
                    "application/json": [1],
                }
            )
        ],
        [
            display_node(
                {
                    "application/vnd.plotly.v1+json": {"data": [1, {"y": None}]},
                    "application/json": [1],
                }
            )
        ],
    ),
    "lines are joined": Case(
        [display({"text/html": ["<p>", "</p>"]}), stream(["a\n", "b"])],
        [display_node({"text/html": "<p></p>"}), text_node("a\nb")],
    ),
    "transient is dropped": Case(
        [display({"text/plain": "x"}, "d1")], [display_node({"text/plain": "x"})]
    ),
    "update replaces its display": Case(
        [display({"text/plain": "0%"}, "bar"), stream("a"), update({"text/plain": "9%"}, "bar")],
        [display_node({"text/plain": "9%"}), text_node("a")],
        actions=["append", "append", "replace"],
    ),
    "update replaces every node of its id": Case(
        [
            display({"text/plain": "a"}, "d"),
            display({"text/plain": "b"}, "d"),
            update({"text/plain": "c"}, "d"),
        ],
        [display_node({"text/plain": "c"})] * 2,
        actions=["append", "append", "replace", "replace"],
    ),
    "update keeps a result a result": Case(
        [
            message(
                "execute_result",
                {"data": {}, "execution_count": 2, "transient": {"display_id": "r"}},
            ),
            update({"text/plain": "new"}, "r"),
        ],
        [result_node({"text/plain": "new"}, 2)],
    ),
    "update of an unknown id is seen, and then known": Case(
        [update({"text/plain": "1"}, "old"), update({"text/plain": "2"}, "old")],
        [display_node({"text/plain": "2"})],
        actions=["append", "replace"],
    ),
    "clear at once": Case([stream("a"), clear()], [], actions=["append", "clear"]),
    "clear waits for the next output": Case(
        [stream("a"), clear(wait=True)], [text_node("a")], actions=["append"]
    ),
    "clear comes with the next output": Case(
        [stream("a"), clear(wait=True), stream("b")],
        [text_node("b")],
        actions=["append", "clear", "append"],
    ),
    "clear of nothing is no change": Case([clear(), clear(wait=True)], [], actions=[]),
    "a cleared display is forgotten": Case(
        [display({"text/plain": "a"}, "d"), clear(), stream("b"), update({"text/plain": "c"}, "d")],
        [text_node("b"), display_node({"text/plain": "c"})],
    ),
    "error keeps its colours": Case(
        [error("no", ("\x1b[31mred\x1b[0m",))], [error_node("no", ("\x1b[31mred\x1b[0m",))]
    ),
    "pager text is shown": Case(
        [
            message(
                "execute_reply",
                {"status": "ok", "payload": [{"source": "page", "data": {"text/plain": "help"}}]},
            )
        ],
        [display_node({"text/plain": "help"})],
    ),
    "other messages are no output": Case(
        [
            message("status", {"execution_state": "busy"}),
            message("comm_open", {"comm_id": "1", "data": {"text/plain": "x"}}),
            message("debug_event", {}),
        ],
        [],
    ),
    "what is lost is marked where it was lost": Case(
        [stream("a"), MessageGap(2, "ring", 3, 99), stream("b")],
        [
            text_node("a"),
            text_node("\n[3 messages with 99 bytes were left out here]\n", "stderr"),
            text_node("b"),
        ],
        budget=2,
        truncated=True,
    ),
    "text is cut at the budget": Case(
        [stream("123456"), stream("78"), stream("x")],
        [text_node("1234567")],
        budget=7,
        truncated=True,
        actions=["append", "extend"],
    ),
    "text is never cut inside a character": Case(
        [stream("éé")], [text_node("é")], budget=3, truncated=True
    ),
    "text that fits exactly is whole": Case([stream("éé")], [text_node("éé")], budget=4),
    "a large entry gives way to text": Case(
        [display({"image/png": "A" * 900, "text/plain": "<Figure>"})],
        [display_node({"text/plain": "<Figure>"})],
        budget=500,
        truncated=True,
    ),
    "the smaller of two pictures is kept": Case(
        [display({"image/svg+xml": "A" * 900, "image/png": PNG, "text/plain": "f"})],
        [display_node({"image/png": PNG, "text/plain": "f"})],
        budget=500,
        truncated=True,
    ),
    "text that is too large alone is cut": Case(
        [result({"text/plain": "z" * 900})],
        [result_node({"text/plain": "z" * 458})],
        budget=500,
        truncated=True,
    ),
    "nothing fits, no node": Case(
        [display({"image/png": "A" * 900})], [], budget=500, truncated=True
    ),
    "metadata counts": Case(
        [display({"text/plain": "x"}, metadata={"k": "v" * 900})],
        [display_node({"text/plain": "x"})],
        budget=500,
        truncated=True,
    ),
    "empty displays are not free": Case(
        [display({})] * 9, [display_node({})] * 3, budget=100, truncated=True
    ),
    "what was replaced takes nothing": Case(
        [
            display({"text/plain": "a" * 50}, "d"),
            *(update({"text/plain": str(n) * 50}, "d") for n in range(10)),
        ],
        [display_node({"text/plain": "9" * 50})],
        budget=100,
    ),
    "a replacement too large is cut, the rest stays": Case(
        [
            display({"text/plain": "a"}, "d"),
            stream("b" * 50),
            update({"text/plain": "c" * 99}, "d"),
        ],
        [display_node({"text/plain": "c" * 8}), text_node("b" * 50)],
        budget=100,
        truncated=True,
    ),
    "what was cleared takes nothing": Case(
        [step for n in range(10) for step in (stream(str(n) * 99), clear(n % 2 == 0))]
        + [display({"text/plain": "last"})],
        [display_node({"text/plain": "last"})],
        budget=100,
    ),
    "what was cut and then cleared is not missing": Case(
        [stream("a" * 99), clear(), stream("b")], [text_node("b")], budget=10
    ),
    "in a crowd the streams are kept apart less finely": Case(
        [stream(str(n), "stderr" if n % 2 else "stdout") for n in range(8)]
        + [display({}), stream("x"), result({"text/plain": "r"})],
        [
            text_node("0"),
            text_node("1", "stderr"),
            text_node("246"),
            text_node("357", "stderr"),
            display_node({}),
            text_node("x"),
            result_node({"text/plain": "r"}),
        ],
        max_outputs=8,
    ),
    "errors pass the budget": Case(
        [stream("a" * 9), error()], [text_node("a" * 5), error_node()], budget=5, truncated=True
    ),
    "but not without end": Case([error()] * 9, [error_node()] * 4, budget=0, truncated=True),
    "of a crowd of outputs the middle gives way": Case(
        [display({"text/plain": str(n)}) for n in range(9)] + [stream("a"), error()],
        [
            *(display_node({"text/plain": str(n)}) for n in range(6)),
            text_node("\n[3 outputs were left out here]\n", "stderr"),
            display_node({"text/plain": "8"}),
            error_node(),
        ],
        max_outputs=8,
        truncated=True,
    ),
    "an output that waits is replaced": Case(
        [
            *(display({"text/plain": str(n)}, f"d{n}") for n in range(9)),
            update({"text/plain": "new 8"}, "d8"),
            update({"text/plain": "new 0"}, "d0"),
        ],
        [
            display_node({"text/plain": "new 0"}),
            *(display_node({"text/plain": str(n)}) for n in range(1, 6)),
            text_node("\n[1 outputs were left out here]\n", "stderr"),
            display_node({"text/plain": "7"}),
            display_node({"text/plain": "new 8"}),
        ],
        max_outputs=8,
        truncated=True,
    ),
    "a full list still extends": Case([stream("a"), stream("b")], [text_node("ab")], max_outputs=1),
    "content is not an object": Case(
        [message(t, 7) for t in ("stream", "error", "display_data")], []
    ),
    "everything is missing": Case(
        [message("stream", {}), message("display_data", {}), message("error", {})],
        [
            display_node({}),
            {"output_type": "error", "ename": "Error", "evalue": "", "traceback": []},
        ],
    ),
    "text is not text": Case([stream(5), stream([1, "a"]), stream(None)], []),
    "the stream is unknown": Case([stream("a", ["x"]), stream("b", "other")], [text_node("ab")]),
    "data is not an object": Case([display([1, 2])], [], truncated=True),
    "MIME values of the wrong type go": Case(
        [display({"text/html": 5, "image/png": {"a": 1}, "text/plain": "x"})],
        [display_node({"text/plain": "x"})],
        truncated=True,
    ),
    "MIME types that are none go": Case(
        [display({5: "a", "": "b", "x" * 999: "c", "text/plain": "x"})],
        [display_node({"text/plain": "x"})],
        truncated=True,
    ),
    "deep JSON goes": Case(
        [display({"application/json": deep, "text/plain": "x"}, metadata={"deep": deep})],
        [display_node({"text/plain": "x"})],
        truncated=True,
    ),
    "numbers that JSON lacks become null": Case(
        [display({"application/json": [float("nan"), float("inf"), 1.5]})],
        [display_node({"application/json": [None, None, 1.5]})],
    ),
    "huge integers become floats": Case(
        [display({"application/json": [2**70, 10**400]})],
        [display_node({"application/json": [float(2**70), None]})],
    ),
    "what is not JSON becomes null": Case(
        [display({"application/json": {"a": Opaque(), 3: 4}})],
        [display_node({"application/json": {"a": None}})],
    ),
    "lone surrogates are replaced": Case(
        [
            stream("a\ud800b"),
            display({"text/plain": "\udfff", "application/json": {"\ud800": "\udc00"}}),
        ],
        [
            text_node("a\ufffdb"),
            display_node({"text/plain": "\ufffd", "application/json": {"\ufffd": "\ufffd"}}),
        ],
    ),
    "surrogate pairs are joined": Case([stream("\ud83d\ude00")], [text_node("😀")]),
    "display ids of the wrong type are none": Case(
        [display({}, 5), display({}, ["a"]), update({"text/plain": "x"}, 5)],
        [display_node({}), display_node({}), display_node({"text/plain": "x"})],
    ),
    "the traceback is not a list of text": Case(
        [error("no", (1, "a", None))], [error_node("no", ("a",))]
    ),
    "the payload is junk": Case(
        [message("execute_reply", {"status": "ok", "payload": [1, {"source": "page"}]})],
        [display_node({})],
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_messages_become_outputs(case: Case) -> None:
    """Every case gives valid nodes, and its changes replayed give the same list."""
    reducer = OutputReducer(case.budget, case.max_outputs)
    changes = [change for line in case.messages for change in reducer.apply(line)]
    changes += reducer.settle()
    assert plain(reducer.outputs) == case.outputs
    assert reducer.truncated is case.truncated
    assert plain(replayed(changes)) == case.outputs
    if case.actions is not None:
        assert [change.action for change in changes] == case.actions
    assert_valid(reducer.outputs)


def plain(outputs: list[dict[str, Any]]) -> Any:
    """The nodes as a caller gets them."""
    return orjson.loads(orjson.dumps(outputs, default=embedded))


def replayed(changes: list[Any]) -> list[dict[str, Any]]:
    """What a reader of the event stream holds in the end."""
    outputs: list[dict[str, Any]] = []
    for change in changes:
        if change.action == "append":
            assert change.index == len(outputs)
            outputs.append(dict(change.output))
        elif change.action == "extend":
            outputs[change.index]["text"] += change.output["text"]
        elif change.action == "replace":
            outputs[change.index] = change.output
        else:
            outputs.clear()
    return outputs


def assert_valid(outputs: list[dict[str, Any]]) -> None:
    for node in plain(outputs):
        nbformat.validate(nbformat.from_dict(node), ref="output", version=4, version_minor=5)
        orjson.dumps(node)


@pytest.mark.parametrize("status", ["ok", "error", "aborted"])
def test_the_reply_says_how_it_went(status: str) -> None:
    """The caller reads the kernel's verdict and the count from the reply."""
    reducer = OutputReducer(100)
    reducer.apply(message("execute_reply", {"status": status, "execution_count": 4}))
    assert (reducer.reply_status, reducer.execution_count) == (status, 4)


@pytest.mark.parametrize("content", [{}, {"status": 5}, {"status": ["ok"]}, {"status": "fine"}, 7])
def test_a_reply_without_a_verdict_gives_none(content: Any) -> None:
    """Nothing is made up for a malformed reply."""
    reducer = OutputReducer(100)
    reducer.apply(message("execute_reply", content))
    assert reducer.reply_status is None


@pytest.mark.parametrize("count", [-1, True, "1", 2**60, None, 1.5])
def test_a_count_that_is_none_is_not_taken(count: Any) -> None:
    """The execution count stays unknown rather than invalid."""
    reducer = OutputReducer(100)
    reducer.apply(message("execute_input", {"execution_count": count}))
    assert reducer.execution_count is None


def test_a_lost_error_message_is_told_from_the_reply() -> None:
    """When only the reply knows of the error, settling adds its node."""
    reducer = OutputReducer(100)
    reply = {"status": "error", "ename": "ValueError", "evalue": "no", "traceback": []}
    reducer.apply(message("execute_reply", reply))
    assert [change.output for change in reducer.settle()] == [error_node()]
    assert reducer.settle() == []


def test_an_error_that_came_is_not_told_twice() -> None:
    """The reply repeats the error message; the outputs do not."""
    reducer = OutputReducer(100)
    reducer.apply(error())
    reducer.apply(message("execute_reply", {"status": "error", "ename": "ValueError"}))
    assert reducer.settle() == []


def test_a_huge_error_keeps_both_its_ends() -> None:
    """A traceback over its cap holds the cell's first frame and the last line."""
    reducer = OutputReducer(10)
    frames = ["first", *("é" * 5000 for _ in range(40)), "last"]
    reducer.apply(error("v" * 1_000_000, frames))
    node = reducer.outputs[0]
    assert len(orjson.dumps(node)) <= MAX_ERROR_BYTES
    assert (node["traceback"][0], node["traceback"][-1]) == ("first", "last")
    assert reducer.truncated


def test_very_many_small_prints_stay_one_node() -> None:
    """Joining is linear: a flood of tiny writes does not stall the service."""
    reducer = OutputReducer(8_000_000)
    line = stream("0123456\n")
    for _ in range(200_000):
        reducer.apply(line)
    assert len(reducer.outputs[0]["text"]) == 1_600_000
