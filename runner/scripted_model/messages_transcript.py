"""The conversation of an Anthropic messages request, checked as the real endpoint does."""

from collections.abc import Sequence
from typing import Any

from runner.scripted_model.transcript import BadRequest, Transcript

Message = dict[str, Any]
Block = dict[str, Any]
IMAGE_TYPES = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})
KINDS = {
    "user": frozenset({"text", "image", "tool_result"}),
    "assistant": frozenset({"text", "tool_use"}),
}


def read_messages(body: Any) -> Transcript:
    """The part of the conversation since the latest question. Raises BadRequest."""
    if not isinstance(body.get("max_tokens"), int):
        raise BadRequest("max_tokens: Field required", "max_tokens")
    if body.get("thread"):
        raise BadRequest("the scripted model keeps no threads", "thread")
    messages = checked_messages(body)
    asked = [number for number, message in enumerate(messages) if _is_question(message)]
    if not asked:
        raise BadRequest("messages: there is no question")
    since = messages[asked[-1] + 1 :]
    results = [block for message in since for block in _blocks(message, "tool_result")]
    return Transcript(
        question=_text(messages[asked[-1]]["content"]),
        turn=sum(message["role"] == "assistant" for message in since),
        results=tuple(_text(block.get("content", "")) for block in results),
        questions=len(asked),
    )


def checked_messages(body: Any) -> Sequence[Message]:
    """The messages of a request body. Raises BadRequest, worded as the endpoint words it."""
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise BadRequest("messages: at least one message is required")
    open_calls: list[str] = []
    for number, message in enumerate(messages):
        _check_message(message, f"messages.{number}")
        _check_results(message, open_calls, f"messages.{number}")
        open_calls = [block["id"] for block in _blocks(message, "tool_use")]
    if open_calls:
        raise BadRequest(_unanswered(open_calls))
    return messages


def _check_message(message: Any, where: str) -> None:
    role = message.get("role") if isinstance(message, dict) else None
    if role not in KINDS:
        raise BadRequest(f"{where}: invalid role {role!r}")
    content = message.get("content")
    if isinstance(content, str) and content:
        return
    if not isinstance(content, list) or not content:
        raise BadRequest(f"{where}: content must not be empty")
    for block in content:
        _check_block(block, KINDS[role], where)


def _check_block(block: Any, allowed: frozenset[str], where: str) -> None:
    kind = block.get("type") if isinstance(block, dict) else None
    if kind not in allowed:
        raise BadRequest(f"{where}: invalid block {kind!r}")
    if kind == "image":
        _check_image(block.get("source") or {}, where)
    if kind == "text" and not block.get("text"):
        raise BadRequest(f"{where}: text content blocks must be non-empty")
    if kind == "tool_result" and isinstance(block.get("content"), list):
        for inner in block["content"]:
            _check_block(inner, frozenset({"text", "image"}), where)


def _check_image(source: Block, where: str) -> None:
    if source.get("type") == "base64" and source.get("media_type") not in IMAGE_TYPES:
        raise BadRequest(f"{where}: invalid media type {source.get('media_type')!r}")


def _check_results(message: Message, open_calls: Sequence[str], where: str) -> None:
    """The message after calls begins with exactly their results."""
    results = [block["tool_use_id"] for block in _blocks(message, "tool_result")]
    if unknown := set(results) - set(open_calls):
        raise BadRequest(f"{where}: unexpected tool_use_id in tool_result: {sorted(unknown)}")
    if missing := [name for name in open_calls if name not in results]:
        raise BadRequest(_unanswered(missing))
    kinds = [block["type"] for block in message["content"]] if results else []
    if any(kind != "tool_result" for kind in kinds[: len(results)]):
        raise BadRequest(f"{where}: tool_result blocks must come first")


def _unanswered(open_calls: Sequence[str]) -> str:
    return (
        "`tool_use` ids were found without `tool_result` blocks immediately after: "
        f"{', '.join(open_calls)}"
    )


def _is_question(message: Message) -> bool:
    return message["role"] == "user" and not _blocks(message, "tool_result")


def _blocks(message: Message, kind: str) -> list[Block]:
    content = message["content"]
    return [] if isinstance(content, str) else [b for b in content if b["type"] == kind]


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    return "\n".join(block["text"] for block in content if block["type"] == "text")
