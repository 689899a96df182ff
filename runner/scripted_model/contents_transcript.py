"""The conversation of a Google generateContent request, checked as the real endpoint does."""

from collections.abc import Iterator, Sequence
from typing import Any

from runner.scripted_model.transcript import BadRequest, Transcript

Content = dict[str, Any]
Part = dict[str, Any]
IMAGE_TYPES = frozenset({"image/png", "image/jpeg", "image/webp"})
KINDS = frozenset({"text", "inlineData", "functionCall", "functionResponse"})


def read_contents(body: Any) -> Transcript:
    """The part of the conversation since the latest question. Raises BadRequest."""
    contents = checked_contents(body)
    asked = list(_questions(contents))
    if not asked:
        raise BadRequest("contents: there is no question", "contents")
    since = contents[asked[-1] + 1 :]
    responses = [part for content in since for part in _of_kind(content, "functionResponse")]
    return Transcript(
        question=_text(contents[asked[-1]]["parts"]),
        turn=sum(content["role"] == "model" for content in since),
        results=tuple(_result(part) for part in responses),
        questions=len(asked),
    )


def checked_contents(body: Any) -> Sequence[Content]:
    """The contents of a request body. Raises BadRequest, worded as the endpoint words it."""
    contents = body.get("contents")
    if not isinstance(contents, list) or not contents:
        raise BadRequest("* GenerateContentRequest.contents: contents is not specified", "contents")
    calls: list[Part] = []
    for number, content in enumerate(contents):
        _check_content(content, f"contents[{number}]")
        responses = _of_kind(content, "functionResponse")
        if [_name(part) for part in responses] != [_name(part) for part in calls]:
            raise BadRequest(
                "Please ensure that the number of function response parts is equal to the number "
                "of function call parts of the function call turn.",
                "contents",
            )
        calls = _of_kind(content, "functionCall")
    return contents


def schemas(asked: Any) -> dict[str, Any]:
    """The parameters of the declared functions by their names."""
    declared = [
        function
        for tool in asked.get("tools") or ()
        for function in tool.get("functionDeclarations") or ()
    ]
    return {str(function.get("name")): _schema(function) for function in declared}


def _schema(function: Part) -> Any:
    """The endpoint reads both spellings of a field, and the client sends now this, now that."""
    spellings = ("parametersJsonSchema", "parameters_json_schema", "parameters")
    return next((function[name] for name in spellings if name in function), None)


def _check_content(content: Any, where: str) -> None:
    role = content.get("role") if isinstance(content, dict) else None
    if role not in ("user", "model"):
        raise BadRequest(f"{where}: please use a valid role: user, model", "contents")
    parts = content.get("parts")
    if not isinstance(parts, list) or not parts:
        raise BadRequest(f"{where}.parts: must not be empty", "contents")
    for part in parts:
        if len(KINDS & part.keys()) != 1:
            raise BadRequest(f"{where}: a part needs exactly one kind of data", "contents")
        _check_picture(part.get("inlineData"), where)
    kinds = {kind for part in parts for kind in KINDS & part.keys()}
    if "functionResponse" in kinds and len(kinds) > 1:
        # The real endpoint accepts it, and reads all of it as the model's own words.
        raise BadRequest(f"{where}: function responses with other parts", "contents")


def _check_picture(data: Part | None, where: str) -> None:
    """Both spellings, as for the schema of a function."""
    if data is not None and (data.get("mimeType") or data.get("mime_type")) not in IMAGE_TYPES:
        raise BadRequest(f"{where}: unsupported MIME type: {data}"[:200], "contents")


def _questions(contents: Sequence[Content]) -> Iterator[int]:
    """Where the person speaks: what follows function responses at once brings their pictures."""
    for number, content in enumerate(contents):
        follows = number > 0 and _of_kind(contents[number - 1], "functionResponse")
        if content["role"] == "user" and not _of_kind(content, "functionResponse") and not follows:
            yield number


def _of_kind(content: Content, kind: str) -> list[Part]:
    return [part for part in content["parts"] if kind in part]


def _name(part: Part) -> str:
    return str((part.get("functionCall") or part.get("functionResponse") or {}).get("name"))


def _result(part: Part) -> str:
    response = part["functionResponse"].get("response") or {}
    return str(response.get("output", response))


def _text(parts: Sequence[Part]) -> str:
    return "\n".join(part["text"] for part in parts if "text" in part)
