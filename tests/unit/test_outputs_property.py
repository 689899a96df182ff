"""Whatever a kernel sends, the outputs are valid and bounded, and the changes tell them."""

from typing import Any

import orjson
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sandbox_service.domain.json_values import embedded
from sandbox_service.domain.ports import KernelMessage
from sandbox_service.kernels.errors import MAX_ERROR_BYTES
from sandbox_service.kernels.outputs import _REDUCERS, OutputReducer
from tests.unit.test_outputs import assert_valid, replayed

FIELDS = [
    "name",
    "text",
    "data",
    "metadata",
    "transient",
    "display_id",
    "execution_count",
    "ename",
    "evalue",
    "traceback",
    "wait",
    "status",
    "payload",
    "text/plain",
    "image/png",
    "application/json",
]

text = st.text(st.characters(exclude_categories=()), max_size=30)
scalars = st.none() | st.booleans() | st.integers() | st.floats() | text
keys = st.sampled_from(FIELDS) | text
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=4)
)
bundles = st.dictionaries(keys, values, max_size=4)
contents = values | st.dictionaries(keys, values | bundles, max_size=6)
displays = st.fixed_dictionaries(
    {"data": bundles, "metadata": values, "transient": st.just({"display_id": "d"})}
)
streams = st.fixed_dictionaries({"name": st.sampled_from(["stdout", "stderr"]), "text": text})
messages = st.builds(
    KernelMessage,
    st.just(1),
    st.sampled_from(["iopub", "shell"]),
    st.sampled_from(sorted(_REDUCERS)) | text,
    contents | displays | streams,
)


@settings(max_examples=75, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(lines=st.lists(messages, max_size=12), budget=st.integers(0, 400))
def test_any_messages_give_valid_bounded_outputs(lines: list[Any], budget: int) -> None:
    """Never raises; nodes are valid; what was taken in stays in the budget, four errors aside."""
    reducer = OutputReducer(budget, max_outputs=8)
    changes = [change for line in lines for change in reducer.apply(line)]
    changes += reducer.settle()
    assert replayed(changes) == reducer.outputs
    assert_valid(reducer.outputs)
    plain = [node for node in reducer.outputs if node["output_type"] != "error"]
    assert sum(content_size(node) for node in plain) <= budget
    assert (
        len(orjson.dumps(reducer.outputs, default=embedded))
        <= 8 * budget + 12 * 200 + 4 * MAX_ERROR_BYTES
    )


def content_size(node: dict[str, Any]) -> int:
    if node["output_type"] == "stream":
        return len(node["text"].encode())
    return sum(len(v.encode()) for v in node["data"].values() if isinstance(v, str))
