"""A conversation's messages, kept such that every endpoint accepts them. Pure."""

import json
from collections.abc import Collection, Iterator, Sequence

from runner.reply import Message, Reply, ToolCall


def system_message(text: str) -> Message:
    """What the model is told before everything else."""
    return {"role": "system", "content": text}


def user_message(text: str) -> Message:
    """What the person says."""
    return {"role": "user", "content": text}


def tool_message(call_id: str, text: str) -> Message:
    """The result of a call."""
    return {"role": "tool", "tool_call_id": call_id, "content": text}


def broken_off(said: str, why: str) -> Message:
    """A reply that was not finished."""
    return {"role": "assistant", "content": f"{said}\n(Stopped: {why})".strip()}


def results_of_open_calls(
    messages: Sequence[Message], why: str, begun: Collection[str] = ()
) -> list[Message]:
    """A result for every call without one: endpoints refuse a history in which one is missing.

    `begun` are the ids of calls whose code was sent.
    """
    return [
        tool_message(call_id, f"{'Broken off' if call_id in begun else 'Not run'}: {why}")
        for call_id in _open_calls(messages)
    ]


def last_word(messages: Sequence[Message], why: str) -> list[Message]:
    """The assistant's word that ends a turn, if it has none: some endpoints want roles in turns."""
    if messages[-1]["role"] in ("system", "assistant"):
        return []
    return [{"role": "assistant", "content": f"(No answer: {why})"}]


def is_cut_off(call: ToolCall, reply: Reply) -> bool:
    """Whether the reply's length limit fell into this call's arguments."""
    if reply.ending != "length" or call is not reply.calls[-1]:
        return False
    try:
        json.loads(call.arguments)
    except ValueError:
        return True
    return False


def text_chars(messages: Sequence[Message]) -> int:
    """How much text there is, without pictures."""
    return sum(len(text) for message in messages for text in _texts(message))


def _texts(message: Message) -> Iterator[str]:
    content = message.get("content") or ""
    if isinstance(content, str):
        yield content
    else:
        yield from (part.get("text", "") for part in content)
    yield from (call["function"]["arguments"] for call in message.get("tool_calls") or ())


def _open_calls(messages: Sequence[Message]) -> Iterator[str]:
    """Ids of the calls of the latest reply that have no result."""
    for start in range(len(messages) - 1, -1, -1):
        if calls := messages[start].get("tool_calls"):
            answered = {message.get("tool_call_id") for message in messages[start + 1 :]}
            yield from (call["id"] for call in calls if call["id"] not in answered)
            return
