"""The scripted model refuses what each real endpoint refuses, and streams what it answers whole."""

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import pytest_asyncio

from runner.adapters import anthropic_messages, google_genai, openai_chat, openai_responses
from runner.scripted_model.contents_transcript import checked_contents, read_contents
from runner.scripted_model.messages_transcript import checked_messages, read_messages
from runner.scripted_model.responses_transcript import checked_items, read_input
from runner.scripted_model.scripts import CONVERSATIONS, SCRIPTS, reply_of, script_names
from runner.scripted_model.server import ScriptedModel, serving
from runner.scripted_model.transcript import BadRequest, Transcript

PNG = "iVBORw0KGgo="
USER = {"role": "user", "content": "q"}


def item_call(call_id: str) -> dict[str, Any]:
    return {
        "type": "function_call",
        "call_id": call_id,
        "name": "execute_python",
        "arguments": "{}",
    }


def item_result(call_id: str, output: Any = "r") -> dict[str, Any]:
    return {"type": "function_call_output", "call_id": call_id, "output": output}


@pytest.mark.parametrize(
    ("items", "complaint"),
    [
        (None, "non-empty array"),
        ([], "non-empty array"),
        ([{"role": "robot", "content": "x"}], "invalid role"),
        ([{"role": "user", "content": []}], "must be a string"),
        ([{"role": "user", "content": [{"type": "output_text", "text": "x"}]}], "invalid part"),
        ([{"role": "assistant", "content": [{"type": "input_text", "text": "x"}]}], "invalid part"),
        ([USER, item_call("a")], "No tool output found for function call a"),
        ([USER, item_result("a")], "No tool call found"),
        ([USER, item_call("a"), item_result("a"), item_result("a")], "No tool call found"),
        ([USER, {"type": "function_call", "call_id": "a"}], "needs name"),
        ([USER, item_call("a"), item_result("a", [{"type": "text", "text": "r"}])], "invalid part"),
        ([USER, item_call("a"), item_result("a", [{"type": "input_image", "image_url": PNG}])],
         "data URL"),
        ([USER, {"type": "mystery"}], "unknown type"),
    ],
)  # fmt: skip
def test_input_items_that_responses_refuses_are_refused(items: Any, complaint: str) -> None:
    """One case for each mistake that a loop can make."""
    with pytest.raises(BadRequest, match=complaint):
        checked_items({"input": items})


def test_an_input_is_read_from_the_latest_question_on() -> None:
    """Items of one reply stand together; pictures behind results are no question."""
    said = {"role": "assistant", "content": [{"type": "output_text", "text": "x"}]}
    picture = {"type": "input_image", "image_url": f"data:image/png;base64,{PNG}"}
    before = [USER, item_call("a"), item_result("a", "old"), said]
    text = [{"type": "input_text", "text": "new"}]
    now = [
        {"role": "user", "content": "now"},
        {"type": "reasoning", "id": "r", "summary": []},
        {**said, "type": "message"},
        item_call("b"),
        item_call("c"),
        item_result("b", [*text, picture]),
        item_result("c", "newer"),
        {"role": "user", "content": [picture]},
    ]
    transcript = read_input({"input": [*before, *now]})
    assert transcript == Transcript("now", 1, ("new", "newer"), 2)
    assert read_input({"input": "only"}) == Transcript("only", 0, ())


def block_call(name: str) -> dict[str, Any]:
    return {"type": "tool_use", "id": name, "name": "execute_python", "input": {}}


def block_result(name: str, content: Any = "r") -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": name, "content": content}


def called(*names: str) -> dict[str, Any]:
    return {"role": "assistant", "content": [block_call(name) for name in names]}


TEXT = {"type": "text", "text": "x"}
BITMAP = {"type": "image", "source": {"type": "base64", "media_type": "image/bmp", "data": PNG}}


@pytest.mark.parametrize(
    ("messages", "complaint"),
    [
        ([], "at least one message"),
        ([{"role": "system", "content": "x"}], "invalid role"),
        ([{"role": "user", "content": ""}], "must not be empty"),
        ([{"role": "user", "content": [{"type": "text", "text": ""}]}], "must be non-empty"),
        ([{"role": "user", "content": [block_call("a")]}], "invalid block"),
        ([{"role": "user", "content": [BITMAP]}], "invalid media type"),
        ([USER, called("a")], "without `tool_result` blocks immediately after: a"),
        ([USER, called("a"), USER], "without `tool_result`"),
        ([USER, called("a", "b"), {"role": "user", "content": [block_result("a")]}], "after: b"),
        ([USER, {"role": "user", "content": [block_result("a")]}], "unexpected tool_use_id"),
        ([USER, called("a"), {"role": "user", "content": [TEXT, block_result("a")]}], "come first"),
        ([USER, called("a"), {"role": "user", "content": [block_result("a", [BITMAP])]}],
         "invalid media type"),
    ],
)  # fmt: skip
def test_messages_that_anthropic_refuses_are_refused(messages: Any, complaint: str) -> None:
    """One case for each mistake that a loop can make."""
    with pytest.raises(BadRequest, match=complaint):
        checked_messages({"messages": messages})


def test_messages_are_read_from_the_latest_question_on() -> None:
    """A message of results is no question."""
    results = {"role": "user", "content": [block_result("b", [TEXT]), block_result("c", "y")]}
    messages = [USER, {"role": "assistant", "content": "x"}, USER, called("b", "c"), results]
    transcript = read_messages({"messages": messages, "max_tokens": 1})
    assert transcript == Transcript("q", 1, ("x", "y"), 2)
    with pytest.raises(BadRequest, match="max_tokens"):
        read_messages({"messages": messages})


def content(role: str, *parts: dict[str, Any]) -> dict[str, Any]:
    return {"role": role, "parts": list(parts)}


ASK = content("user", {"text": "q"})
CALL = content("model", {"functionCall": {"name": "execute_python", "args": {}}})
RESPONSE = {"functionResponse": {"name": "execute_python", "response": {"output": "r"}}}
PICTURE = {"inlineData": {"mimeType": "image/png", "data": PNG}}


@pytest.mark.parametrize(
    ("contents", "complaint"),
    [
        ([], "not specified"),
        ([content("assistant", {"text": "x"})], "valid role"),
        ([content("user")], "must not be empty"),
        ([content("user", {"text": "x", "inlineData": {}})], "exactly one kind"),
        ([content("user", {"inlineData": {"mimeType": "image/bmp"}})], "unsupported MIME type"),
        ([ASK, CALL, ASK], "number of function response parts"),
        ([ASK, CALL, content("user", RESPONSE, RESPONSE)], "number of function response parts"),
        ([ASK, content("user", RESPONSE)], "number of function response parts"),
        ([ASK, CALL, content("user", RESPONSE, PICTURE)], "with other parts"),
    ],
)
def test_contents_that_google_refuses_are_refused(contents: Any, complaint: str) -> None:
    """One case for each mistake that a loop can make."""
    with pytest.raises(BadRequest, match=complaint):
        checked_contents({"contents": contents})


def test_contents_are_read_from_the_latest_question_on() -> None:
    """Pictures behind function responses are no question."""
    pictures = content("user", {"text": "pictures"}, PICTURE)
    contents = [
        ASK,
        content("model", {"text": "x"}),
        ASK,
        CALL,
        content("user", RESPONSE),
        pictures,
    ]
    assert read_contents({"contents": contents}) == Transcript("q", 1, ("r",), 2)


def test_a_conversation_answers_each_question_with_turns_of_its_own() -> None:
    """And says so when there are no more."""
    first = reply_of("weather-in-two-turns", Transcript("q", 0, (), 1))
    second = reply_of("weather-in-two-turns", Transcript("q", 0, (), 2))
    assert first.cells != second.cells
    third = reply_of("weather-in-two-turns", Transcript("q", 0, (), 3))
    assert third.text == "The script is at its end."
    assert script_names() == [*SCRIPTS, *CONVERSATIONS]


@pytest_asyncio.fixture(scope="module")
async def model() -> AsyncIterator[tuple[ScriptedModel, httpx.AsyncClient]]:
    application = ScriptedModel()
    async with serving(application) as url:
        root = url.removesuffix("/v1")
        async with httpx.AsyncClient(base_url=root, trust_env=False) as client:
            yield application, client


Model = tuple[ScriptedModel, httpx.AsyncClient]
GOOGLE = "/v1beta/models/{model}:generateContent"
REQUESTS: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"messages": [USER], "tools": [openai_chat.definition()]},
    "/v1/responses": {"input": [USER], "tools": [openai_responses.definition()]},
    "/v1/messages": {
        "messages": [USER], "tools": [anthropic_messages.definition()], "max_tokens": 9,
    },
    GOOGLE: {
        "contents": [ASK], "tools": [{"functionDeclarations": [google_genai.definition()]}],
    },
}  # fmt: skip


@pytest.mark.parametrize("path", REQUESTS)
async def test_every_protocol_answers_with_the_script_and_keeps_the_request(
    model: Model, path: str
) -> None:
    """The echo script calls the tool with the question as its code."""
    application, client = model
    asked = REQUESTS[path] | {"model": "echo"}
    answer = await client.post(path.format(model="echo"), json=asked)
    assert answer.status_code == 200, answer.text
    assert "execute_python" in answer.text
    assert "code" in answer.text
    assert application.sent[-1].path == path.format(model="echo")
    assert application.sent[-1].body["model"] == "echo"


@pytest.mark.parametrize("path", REQUESTS)
async def test_every_protocol_streams_its_answer_in_events(model: Model, path: str) -> None:
    """Each a line of JSON; the pieces joined are the code."""
    _, client = model
    path_of_stream = path.replace("generateContent", "streamGenerateContent?alt=sse")
    asked = REQUESTS[path] | {"model": "echo", "stream": True}
    answer = await client.post(path_of_stream.format(model="echo"), json=asked)
    assert answer.headers["content-type"] == "text/event-stream"
    data = [line[6:] for line in answer.text.splitlines() if line.startswith("data: ")]
    events = [json.loads(text) for text in data if text != "[DONE]"]
    assert events
    assert "execute_python" in json.dumps(events)


@pytest.mark.parametrize("path", REQUESTS)
@pytest.mark.parametrize(
    ("changes", "status"),
    [({"tools": []}, 400), ({"model": "gpt-0"}, 404), ({"tools": None}, 400)],
    ids=["no tools", "no model", "null tools"],
)
async def test_every_protocol_refuses_in_its_own_words(
    model: Model, path: str, changes: dict[str, Any], status: int
) -> None:
    """With an error object, whose message says what was wrong."""
    _, client = model
    asked = REQUESTS[path] | {"model": "echo"} | changes
    answer = await client.post(path.format(model=asked["model"]), json=asked)
    assert answer.status_code == status
    assert isinstance(answer.json()["error"]["message"], str)


async def test_a_thread_is_refused_so_that_the_client_sends_its_history(model: Model) -> None:
    """As the endpoint does where it keeps none."""
    _, client = model
    asked = REQUESTS["/v1/messages"] | {"model": "echo", "thread": {"type": "create"}}
    error = (await client.post("/v1/messages", json=asked)).json()["error"]
    assert error["details"]["error_code"] == "thread_unsupported_request"
