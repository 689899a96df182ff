"""What weak models write instead of a proper call, read where it has one meaning. Pure."""

import ast
import json
import re
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from runner.reply import Message, Reply, ToolCall
from runner.tool import NAME, PARAMETERS

NO_TOOLS_ADVICE = """

You have no function tools here. To run Python, write one block that begins with ```python and \
ends with ```, and nothing after it: the code is run, and its result is the next message."""

_FENCE = re.compile(
    r"```(python|py|tool_code|execute_python)?[ \t]*\n((?:(?!```).)*?)\n?```", re.DOTALL | re.I
)
_LAST_FENCE = re.compile(
    r"```(python|py|tool_code|execute_python)[ \t]*\n((?:(?!```).)*?)\n?```\s*\Z", re.DOTALL | re.I
)
_THINKING = re.compile(r"<think>.*?(</think>|\Z)", re.DOTALL)
_MARK = r"(?:</?tool_call>|\[TOOL_CALLS\]|<\|python_tag\|>|```(?:json|tool_call)?|\s)"
_MARKS_AROUND = re.compile(rf"\A{_MARK}+|{_MARK}+\Z")
_CALL_BEGINS = re.compile(
    r"(<tool_call>|\[TOOL_CALLS\]|<\|python_tag\|>|```tool_call)\s*(```(?:json)?)?\s*\Z"
)
_WRITTEN_CALL = re.compile(r'\[?\s*\{\s*"(?:name|function)"\s*:\s*"')
_BETWEEN_CALLS = re.compile(rf"(?:{_MARK}|[,;\]])*")
_WRONG_ESCAPE = re.compile(r'\\(u(?![0-9a-fA-F]{4})|[^"\\/bfnrtu])|\\(.)', re.DOTALL)
_CLOSERS = re.compile(r"(\s|[}\])]|```|</?\w+>)*")
_NO = (
    r"(?:\b(?:not|never|without|instead of|rather than|nicht|ohne|ne|pas|sans|no|sin|não|sem|non|senza)"
    r"|n['’]t)"
)
_RUN = r"(?:run|execut|ausführ|ausgeführ|auszuführ|laufen|(?:l['’])?exécut|ejecut|esegu)\w*"
_AGAINST = re.compile(
    rf"{_NO}(?: [\w'’]+){{0,3}}? {_RUN}|{_RUN}(?: \w+){{0,4}} (?:yourself|locally|on your|selbst)"
    r"|nicht aus(?=\s*(?:[.:!]|\Z))|\b(?:just|only) an example|example only"
    "|for illustration|(?:不要|勿)(?:运行|执行)",
    re.I,
)
"""How models say, in the languages that are met most, that what they show is not to be run."""

TEXT_CALL = "call_text_"
"""How the ids of calls begin that were found in the text."""

CODE_NAMES = ("code", "python", "source", "script", "cell", "python_code", "input")
"""Names under which models send the code, though the schema has one name only."""

TOOL_NAMES = frozenset(
    {
        "python", "python3", "ipython", "execute", "run", "exec", "code", "run_python", "run_code",
        "execute_code", "execute_cell", "python_interpreter", "code_interpreter", "interpreter",
        "execute_python_code", "run_python_code", "python_repl", "jupyter", "tool_code",
    }
)  # fmt: skip
"""Names by which models call a tool that runs Python, whatever its name is."""


@dataclass(frozen=True, slots=True)
class Habits:
    """How a model calls: `takes_tools` unless its endpoint refuses them, `has_called` once it did so properly."""

    takes_tools: bool = True
    has_called: bool = False


@dataclass(frozen=True, slots=True)
class _Written:
    """A text taken apart: what is said, and the code of the calls after it."""

    said: str
    codes: list[str]


def mended(reply: Reply, habits: Habits) -> Reply:
    """The reply with its calls made proper, and with calls that were written as text as calls.

    Code is run only when the model called: what it shows in an answer, or says is not to be run, is text.
    """
    if reply.calls:
        calls = [mended_call(call) for call in reply.calls]
        return Reply(reply.text, calls, reply.ending, reply.usage)
    text = _THINKING.sub("", reply.text)
    found = _written_calls(text, habits) or (None if habits.takes_tools else _fenced(text))
    if found is None or _is_against(found):
        return reply
    calls = [
        ToolCall(f"{TEXT_CALL}{uuid4().hex}", NAME, json.dumps({"code": code}))
        for code in found.codes
    ]
    return Reply(found.said, calls, reply.ending, reply.usage)


def has_proper_call(messages: Sequence[Message]) -> bool:
    """Whether the model has called the tool as it should, at least once."""
    calls = (call for message in messages for call in message.get("tool_calls") or ())
    return any(not call["id"].startswith(TEXT_CALL) for call in calls)


def mended_call(call: ToolCall) -> ToolCall:
    """The call with the tool's own name and well-formed arguments, where its meaning is plain."""
    return ToolCall(call.id, mended_name(call.name), mended_arguments(call.arguments))


def mended_name(name: str) -> str:
    """The tool's name for the many that models give it; any other name as it is."""
    bare = re.sub(r"[:.]\d+$", "", name).rpartition(".")[2].strip().lower()
    is_meant = bare in TOOL_NAMES or re.sub(r"[^a-z]", "", bare) == NAME.replace("_", "")
    return NAME if is_meant else name


def mended_arguments(text: str) -> str:
    """The arguments as JSON of the tool's schema; the same text where more than one is possible."""
    for value in _readings(text):
        arguments = _as_arguments(value)
        if arguments is not None:
            return json.dumps(arguments)
    return text


def as_plain_conversation(messages: Sequence[Message], advice: str) -> list[Message]:
    """The conversation without tools: calls as fenced code, results as what the user says."""
    plain: list[Message] = []
    for message in messages:
        told = _without_tools(message)
        if message["role"] == "system":
            told = {**told, "content": f"{told['content']}{advice}"}
        if plain and told["role"] == plain[-1]["role"] == "user":
            told = {"role": "user", "content": _parts(plain.pop()) + _parts(told)}
        plain.append(told)
    return [_joined(message) for message in plain]


def _readings(text: str) -> Iterator[Any]:
    """What the text can be read as, the most literal reading first."""
    bare = _MARKS_AROUND.sub("", text)
    escaped = _with_right_escapes(bare)
    for candidate in (text, bare, escaped, escaped + "}"):
        yield from _json_of(candidate)
    yield from _literal_of(bare)
    if bare and bare[0] not in "{[\"'" and _is_python(bare):
        yield {"code": bare}


def _as_arguments(value: Any) -> dict[str, Any] | None:
    """The tool's arguments, of an object, of a string with one in it, or of plain code."""
    if isinstance(value, str):
        inner = [_as_arguments(read) for read in _json_of(value) if isinstance(read, dict)]
        found = inner[0] if inner else None
        return found or ({"code": value} if _is_python(value) else None)
    if not isinstance(value, dict):
        return None
    for wrapping in ("arguments", "parameters"):
        if wrapping in value:
            return _as_arguments(value[wrapping])
    codes = [code for name in CODE_NAMES if (code := _code(value.get(name))) is not None]
    known = {name: value[name] for name in PARAMETERS["properties"] if name in value}
    return {**known, "code": codes[0]} if len(codes) == 1 else None


def _code(value: Any) -> str | None:
    """Code as one string, also when it came as lines or inside a fence."""
    if isinstance(value, list) and value and all(isinstance(line, str) for line in value):
        value = "\n".join(line.removesuffix("\n") for line in value)
    if not isinstance(value, str):
        return None
    fence = _FENCE.fullmatch(value.strip())
    return fence[2] if fence else value


def _json_of(text: str) -> Iterator[Any]:
    """The JSON value at the beginning, if nothing but closing marks follows it.

    Line breaks inside strings are taken, which JSON itself forbids.
    """
    try:
        value, end = json.JSONDecoder(strict=False).raw_decode(text)
    except ValueError:
        return
    if _CLOSERS.fullmatch(text, end):
        yield value


def _literal_of(text: str) -> Iterator[Any]:
    try:
        with warnings.catch_warnings(action="ignore"):
            yield ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return


def _with_right_escapes(text: str) -> str:
    """Backslashes that JSON does not know are meant for Python, as in a regular expression."""
    return _WRONG_ESCAPE.sub(lambda m: rf"\\{m[1]}" if m[1] else m[0], text)


def _is_python(text: str) -> bool:
    try:
        with warnings.catch_warnings(action="ignore"):
            ast.parse(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return False
    return bool(text.strip())


def _written_calls(text: str, habits: Habits) -> _Written | None:
    """Calls that are written out as JSON with the tool's name, up to the end of the text.

    Either in one of the notations in which models call, or as all that there is, by a model that has not
    called in any better way. JSON at the end of an answer is a part of the answer.
    """
    start = _WRITTEN_CALL.search(text)
    if start is None:
        return None
    before = text[: start.start()]
    is_all = not habits.has_called and not _MARKS_AROUND.sub("", before)
    if not is_all and not _CALL_BEGINS.search(before):
        return None
    position, codes = text.index("{", start.start()), list[str]()
    while position < len(text):
        try:
            value, position = json.JSONDecoder(strict=False).raw_decode(text, position)
        except ValueError:
            return None
        code = _code_of_written_call(value)
        if code is None:
            return None
        codes.append(code)
        position = _end_of(_BETWEEN_CALLS, text, position)
    return _Written(_MARKS_AROUND.sub("", before), codes)


def _fenced(text: str) -> _Written | None:
    """The fenced block that ends the text: what a model writes that waits for its result."""
    fence = _LAST_FENCE.search(text)
    return _Written(text[: fence.start()].rstrip(), [fence[2]]) if fence else None


def _is_against(found: _Written) -> bool:
    """Whether the model's own words, or comments of the code, say that it is not to be run."""
    comments = (line for code in found.codes for line in code.splitlines() if "#" in line)
    remarks = (line.partition("#")[2] for line in comments)
    return any(_AGAINST.search(_bare(words)) for words in (found.said, *remarks))


def _bare(words: str) -> str:
    """Without emphasis and line breaks."""
    return " ".join(re.sub("[*_`~]", "", words).split())


def _end_of(pattern: re.Pattern[str], text: str, position: int) -> int:
    match = pattern.match(text, position)
    return match.end() if match else position


def _code_of_written_call(value: Any) -> str | None:
    if not isinstance(value, dict):
        return None
    name = value.get("name") or value.get("function")
    if not isinstance(name, str) or mended_name(name) != NAME:
        return None
    arguments = _as_arguments(value)
    return arguments["code"] if arguments else None


def _without_tools(message: Message) -> Message:
    if message["role"] == "tool":
        content = f"Result of the code:\n{message['content']}"
        return {"role": "user", "content": [{"type": "text", "text": content}]}
    if calls := message.get("tool_calls"):
        blocks = [f"```python\n{_code_of(call)}\n```" for call in calls]
        text = "\n\n".join(filter(None, [message.get("content"), *blocks]))
        return {"role": "assistant", "content": text}
    return message


def _code_of(call: Message) -> str:
    arguments = _as_arguments(json.loads(call["function"]["arguments"]))
    return str(arguments["code"]) if arguments else ""


def _parts(message: Message) -> list[Message]:
    content = message["content"]
    return [{"type": "text", "text": content}] if isinstance(content, str) else list(content)


def _joined(message: Message) -> Message:
    """Content that is text alone as one string: not every endpoint takes parts."""
    content = message["content"]
    if isinstance(content, list) and all(part["type"] == "text" for part in content):
        return {**message, "content": "\n\n".join(part["text"] for part in content)}
    return message
