"""Replies put together from pieces, as endpoints of several makes send them."""

import pytest

from runner.config import ModelConfig, model_config
from runner.reply import CallDelta, Reply, ReplyDelta, ToolCall


def reply_of(*deltas: ReplyDelta) -> Reply:
    reply = Reply()
    for delta in deltas:
        reply.add(delta)
    return reply


def pieces(*calls: CallDelta) -> list[ReplyDelta]:
    return [ReplyDelta(calls=(call,)) for call in calls]


@pytest.mark.parametrize(
    "deltas",
    [
        pieces(CallDelta(0, "a", "f", '{"x'), CallDelta(0, arguments='": 1}'),
               CallDelta(1, "b", "g", "{}")),
        pieces(CallDelta(0, "a", "f"), CallDelta(1, "b", "g"), CallDelta(0, arguments='{"x": 1}'),
               CallDelta(1, arguments="{}")),
        pieces(CallDelta(0, "a", "f", '{"x": 1}'), CallDelta(0, "b", "g", "{}")),
        pieces(CallDelta(0, "a", "f", '{"x":'), CallDelta(0, "a", "", " 1}"),
               CallDelta(0, "b", "g", "{}")),
        [ReplyDelta(calls=(CallDelta(0, "a", "f", '{"x": 1}'), CallDelta(1, "b", "g", "{}")))],
    ],
)  # fmt: skip
def test_pieces_of_tool_calls_find_their_call(deltas: list[ReplyDelta]) -> None:
    """By index; by id where an endpoint gives every call the same index."""
    expected = [ToolCall("a", "f", '{"x": 1}'), ToolCall("b", "g", "{}")]
    assert reply_of(*deltas).calls == expected


def test_a_call_without_an_id_gets_one_of_its_own() -> None:
    """Two turns never share an id."""
    first, second = (reply_of(*pieces(CallDelta(0, "", "f", "{}"))).calls[0].id for _ in range(2))
    assert first != second


def test_a_reply_is_a_message_of_the_history() -> None:
    """Text alone, calls alone; arguments that are no JSON are not kept."""
    assert reply_of(ReplyDelta("hi")).message() == {"role": "assistant", "content": "hi"}
    message = reply_of(*pieces(CallDelta(0, "a", "f", '{"x'))).message()
    assert message["content"] is None
    assert message["tool_calls"] == [
        {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    ]


@pytest.mark.parametrize(
    ("flags", "environment", "expected"),
    [
        ({}, {}, None),
        ({}, {"OPENAI_API_KEY": ""}, None),
        ({}, {"RUNNER_MODEL": "m"}, None),
        ({}, {"OPENAI_API_KEY": "k"}, ModelConfig("k", "gpt-4.1")),
        ({"key": "f"}, {"OPENAI_API_KEY": "k", "RUNNER_MODEL": "m"}, ModelConfig("f", "m")),
        ({"model": "n"}, {"OPENAI_BASE_URL": "http://x"}, ModelConfig("none", "n", "http://x")),
    ],
)
def test_flags_come_before_the_environment(
    flags: dict[str, str], environment: dict[str, str], expected: ModelConfig | None
) -> None:
    """A base URL alone is enough; nothing at all means the scripted model."""
    assert model_config(**flags, environment=environment) == expected


def test_keys_are_not_shown() -> None:
    """A configuration in a log gives nothing away."""
    assert "secret" not in repr(ModelConfig("secret", "m"))
