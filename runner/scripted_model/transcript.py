"""The conversation of a chat request: checked as a real endpoint does, then read for the script."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

Message = dict[str, Any]
ROLES = frozenset({"system", "developer", "user", "assistant", "tool"})


class BadRequest(Exception):
    """What a real endpoint would answer 400 to."""

    def __init__(self, message: str, param: str = "messages") -> None:
        super().__init__(message)
        self.param = param


@dataclass(frozen=True, slots=True)
class Transcript:
    """What a script may look at: the question, and the results of the calls made since.

    `turn` counts the model's replies to that question, `questions` all that were asked.
    """

    question: str
    turn: int
    results: tuple[str, ...]
    questions: int = 1

    @property
    def last_result(self) -> str:
        return self.results[-1] if self.results else ""


def read_transcript(body: Any) -> Transcript:
    """The part of the conversation since the latest question. Raises BadRequest."""
    messages = checked_messages(body)
    asked = list(_questions(messages))
    if not asked:
        raise BadRequest("there is no user message")
    since = messages[asked[-1] + 1 :]
    return Transcript(
        question=_text(messages[asked[-1]]),
        turn=sum(message["role"] == "assistant" for message in since),
        results=tuple(_text(message) for message in since if message["role"] == "tool"),
        questions=len(asked),
    )


def checked_messages(body: Any) -> Sequence[Message]:
    """The messages of a request body. Raises BadRequest, worded as endpoints word it."""
    messages = body.get("messages") if isinstance(body, dict) else None
    if not isinstance(messages, list) or not messages:
        raise BadRequest("'messages' must be a non-empty array")
    open_calls: set[str] = set()
    for number, message in enumerate(messages):
        where = f"messages[{number}]"
        role = message.get("role") if isinstance(message, dict) else None
        if role not in ROLES:
            raise BadRequest(f"{where}: invalid role {role!r}")
        if role == "tool":
            _close(open_calls, message, where)
            continue
        if open_calls:
            raise BadRequest(_missing(open_calls))
        _check_content(message, where)
        open_calls = _opened_calls(message, where)
    if open_calls:
        raise BadRequest(_missing(open_calls))
    return messages


def _close(open_calls: set[str], message: Message, where: str) -> None:
    call_id = message.get("tool_call_id")
    if call_id not in open_calls:
        raise BadRequest(
            f"{where}: messages with role 'tool' must be a response to a preceding message with "
            f"'tool_calls'; there is no open call {call_id!r}"
        )
    if not isinstance(message.get("content"), str | list):
        raise BadRequest(f"{where}: tool content must be a string or an array of parts")
    open_calls.discard(call_id)


def _missing(open_calls: set[str]) -> str:
    return (
        "An assistant message with 'tool_calls' must be followed by tool messages responding to "
        f"each 'tool_call_id'. Without a response: {', '.join(sorted(open_calls))}"
    )


def _opened_calls(message: Message, where: str) -> set[str]:
    calls = message.get("tool_calls")
    if calls is None:
        return set()
    if message["role"] != "assistant" or not isinstance(calls, list) or not calls:
        raise BadRequest(f"{where}: 'tool_calls' must be a non-empty array of an assistant message")
    ids = [_call_id(call, where) for call in calls]
    if len(set(ids)) != len(ids):
        raise BadRequest(f"{where}: duplicate tool call id")
    return set(ids)


def _call_id(call: Any, where: str) -> str:
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(function, dict) or call.get("type") != "function" or not call.get("id"):
        raise BadRequest(f"{where}: a tool call needs id, type 'function' and function")
    if not isinstance(function.get("name"), str) or not isinstance(function.get("arguments"), str):
        raise BadRequest(f"{where}: a function call needs name and arguments, both strings")
    return str(call["id"])


def _check_content(message: Message, where: str) -> None:
    content = message.get("content")
    if isinstance(content, str):
        return
    if content is None and message["role"] == "assistant" and message.get("tool_calls"):
        return
    if not isinstance(content, list) or not content:
        raise BadRequest(f"{where}: 'content' must be a string or an array of parts")
    for part in content:
        _check_part(part, message["role"], where)


def _check_part(part: Any, role: str, where: str) -> None:
    kind = part.get("type") if isinstance(part, dict) else None
    if kind == "text" and isinstance(part.get("text"), str):
        return
    url = (part.get("image_url") or {}).get("url") if kind == "image_url" else None
    if role != "user" or not isinstance(url, str):
        raise BadRequest(f"{where}: invalid content part {kind!r} for role {role!r}")
    if not url.startswith(("data:image/", "http://", "https://")):
        raise BadRequest(f"{where}: an image must be a data URL or a link")


def _questions(messages: Sequence[Message]) -> Iterator[int]:
    """Where the person speaks: a user message after tool results only brings their pictures."""
    for number, message in enumerate(messages):
        follows_result = number > 0 and messages[number - 1]["role"] == "tool"
        if message["role"] == "user" and not (
            follows_result and isinstance(message["content"], list)
        ):
            yield number


def _text(message: Message) -> str:
    content = message.get("content") or ""
    if isinstance(content, str):
        return content
    return "\n".join(part["text"] for part in content if part.get("type") == "text")
