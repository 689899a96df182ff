"""The conversation of a Responses request, checked as the real endpoint does."""

from collections.abc import Iterator, Sequence
from typing import Any

from runner.scripted_model.transcript import BadRequest, Transcript

Item = dict[str, Any]
ROLES = frozenset({"system", "developer", "user", "assistant"})
INPUT_PARTS = frozenset({"input_text", "input_image", "input_file"})
OUTPUT_PARTS = frozenset({"output_text", "refusal"})


def read_input(body: Any) -> Transcript:
    """The part of the conversation since the latest question. Raises BadRequest."""
    items = checked_items(body)
    asked = list(_questions(items))
    if not asked:
        raise BadRequest("there is no user message", "input")
    since = items[asked[-1] + 1 :]
    return Transcript(
        question=_text(items[asked[-1]]["content"]),
        turn=_replies(since),
        results=tuple(_text(item["output"]) for item in since if _is(item, "function_call_output")),
        questions=len(asked),
    )


def checked_items(body: Any) -> Sequence[Item]:
    """The input items of a request. Raises BadRequest."""
    if body.get("previous_response_id") or body.get("conversation"):
        raise BadRequest("the scripted model keeps no responses: send the whole input", "input")
    given = body.get("input")
    items = [{"role": "user", "content": given}] if isinstance(given, str) else given
    if not isinstance(items, list) or not items:
        raise BadRequest("'input' must be a string or a non-empty array", "input")
    called: set[str] = set()
    answered: set[str] = set()
    for number, item in enumerate(items):
        _check_item(item, f"input[{number}]", called, answered)
    if missing := called - answered:
        raise BadRequest(f"No tool output found for function call {sorted(missing)[0]}.", "input")
    return items


def _check_item(item: Any, where: str, called: set[str], answered: set[str]) -> None:
    kind = item.get("type", "message") if isinstance(item, dict) else None
    if kind == "message":
        _check_message(item, where)
    elif kind == "function_call":
        _check_call(item, where)
        called.add(item["call_id"])
    elif kind == "function_call_output":
        if item.get("call_id") not in called - answered:
            raise BadRequest(
                f"No tool call found for function call output with call_id {item.get('call_id')}.",
                "input",
            )
        _check_content(item.get("output"), INPUT_PARTS, f"{where}.output")
        answered.add(item["call_id"])
    elif kind != "reasoning":
        raise BadRequest(f"{where}: unknown type {kind!r}", "input")


def _check_message(item: Item, where: str) -> None:
    if item.get("role") not in ROLES:
        raise BadRequest(f"{where}: invalid role {item.get('role')!r}", "input")
    allowed = OUTPUT_PARTS if item["role"] == "assistant" else INPUT_PARTS
    _check_content(item.get("content"), allowed, f"{where}.content")


def _check_call(item: Item, where: str) -> None:
    for name in ("call_id", "name", "arguments"):
        if not isinstance(item.get(name), str):
            raise BadRequest(f"{where}: a function call needs {name}, a string", "input")


def _check_content(content: Any, allowed: frozenset[str], where: str) -> None:
    if isinstance(content, str):
        return
    if not isinstance(content, list) or not content:
        raise BadRequest(f"{where} must be a string or an array of parts", "input")
    for part in content:
        if not isinstance(part, dict) or part.get("type") not in allowed:
            raise BadRequest(f"{where}: invalid part {part!r:.80}", "input")
        url = part.get("image_url") or ""
        if part["type"] == "input_image" and not url.startswith(("data:image/", "https://")):
            raise BadRequest(f"{where}: an image must be a data URL or a link", "input")


def _questions(items: Sequence[Item]) -> Iterator[int]:
    """Where the person speaks: a user message behind results may only bring their pictures."""
    for number, item in enumerate(items):
        follows = number > 0 and _is(items[number - 1], "function_call_output")
        if item.get("role") == "user" and not (follows and _has_image(item["content"])):
            yield number


def _replies(since: Sequence[Item]) -> int:
    """The items of one reply stand together: a reply begins where ours end."""
    is_models = [item.get("role") == "assistant" or _is(item, "function_call") for item in since]
    return sum(
        now and not before for before, now in zip([False, *is_models], is_models, strict=False)
    )


def _has_image(content: Any) -> bool:
    return isinstance(content, list) and any(_is(part, "input_image") for part in content)


def _is(item: Item, kind: str) -> bool:
    return item.get("type") == kind


def _text(content: Any) -> str:
    return content if isinstance(content, str) else "\n".join(_texts(content))


def _texts(parts: Sequence[Item]) -> Iterator[str]:
    return (part["text"] for part in parts if "text" in part)
