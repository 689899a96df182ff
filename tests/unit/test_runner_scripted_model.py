"""The scripted model refuses what a real endpoint refuses, and speaks both forms of the protocol."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import pytest_asyncio

from runner.scripted_model.server import serving
from runner.scripted_model.transcript import BadRequest, checked_messages, read_transcript
from runner.tool import chat_tool

SYSTEM = {"role": "system", "content": "s"}
USER = {"role": "user", "content": "q"}
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}


def calls(*ids: str) -> dict[str, Any]:
    function = {"name": "execute_python", "arguments": "{}"}
    made = [{"id": name, "type": "function", "function": function} for name in ids]
    return {"role": "assistant", "content": None, "tool_calls": made}


def result(call_id: str, text: str = "r") -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": call_id, "content": text}


@pytest.mark.parametrize(
    ("messages", "complaint"),
    [
        (None, "non-empty array"),
        ([], "non-empty array"),
        ([{"role": "robot", "content": "x"}], "invalid role"),
        ([{"role": "user"}], "'content' must be"),
        ([{"role": "assistant", "content": None}], "'content' must be"),
        ([USER, result("a")], "must be a response"),
        ([USER, calls("a"), result("b")], "must be a response"),
        ([USER, calls("a"), result("a"), result("a")], "must be a response"),
        ([USER, calls("a", "b"), result("a")], "Without a response: b"),
        ([USER, calls("a"), USER], "Without a response: a"),
        ([USER, calls("a", "b"), result("a"), {"role": "user", "content": [IMAGE]}, result("b")],
         "Without a response: b"),
        ([USER, calls("a", "a")], "duplicate"),
        ([USER, {"role": "assistant", "content": "x", "tool_calls": []}], "non-empty"),
        ([USER, {"role": "assistant", "tool_calls": [{"id": "a"}]}], "needs id, type"),
        ([{"role": "system", "content": [IMAGE]}], "invalid content part"),
        ([{"role": "user", "content": [{**IMAGE, "image_url": {"url": "x"}}]}], "data URL"),
    ],
)  # fmt: skip
def test_a_history_that_endpoints_refuse_is_refused(messages: Any, complaint: str) -> None:
    """One case for each mistake that a loop can make."""
    with pytest.raises(BadRequest, match=complaint):
        checked_messages({"messages": messages})


def test_a_transcript_begins_at_the_latest_question() -> None:
    """Pictures that follow a tool result are no question."""
    pictures = {"role": "user", "content": [{"type": "text", "text": "pictures"}, IMAGE]}
    before = [SYSTEM, USER, calls("a"), result("a", "old"), {"role": "assistant", "content": "x"}]
    now = [{"role": "user", "content": "now"}, calls("b"), result("b", "new"), pictures]
    transcript = read_transcript({"messages": [*before, *now]})
    assert (transcript.question, transcript.turn, transcript.results) == ("now", 1, ("new",))


@pytest_asyncio.fixture(scope="module")
async def http() -> AsyncIterator[httpx.AsyncClient]:
    async with serving() as url, httpx.AsyncClient(base_url=url, trust_env=False) as client:
        yield client


def request(**changes: Any) -> dict[str, Any]:
    return {"model": "echo", "messages": [USER], "tools": [chat_tool()], **changes}


async def test_an_answer_comes_whole_when_it_is_not_streamed(http: httpx.AsyncClient) -> None:
    """One completion object with the tool call."""
    body = (await http.post("/chat/completions", json=request())).json()
    (choice,) = body["choices"]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["tool_calls"][0]["function"]["arguments"] == '{"code": "q"}'
    assert body["object"] == "chat.completion"


async def test_a_stream_ends_with_usage_when_asked_and_done(http: httpx.AsyncClient) -> None:
    """The chunks of the protocol, in their order."""
    asked = request(stream=True, stream_options={"include_usage": True})
    lines = (await http.post("/chat/completions", json=asked)).text.strip().split("\n\n")
    assert lines[-1] == "data: [DONE]"
    assert '"usage"' in lines[-2]
    assert '"finish_reason": "tool_calls"' in lines[-3]


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"model": "gpt-0"}, 404),
        ({"model": ["echo"]}, 404),
        ({"tools": []}, 400),
        ({"tools": None}, 400),
        ({"tools": [{"type": "function", "function": {"name": "other", "parameters": {}}}]}, 400),
        ({"messages": [USER, calls("a")]}, 400),
    ],
)
async def test_wrong_requests_get_an_error_body(
    http: httpx.AsyncClient, changes: dict[str, Any], status: int
) -> None:
    """Status and body as the protocol has them."""
    answer = await http.post("/chat/completions", json=request(**changes))
    assert answer.status_code == status
    assert answer.json()["error"]["type"] == "invalid_request_error"


async def test_what_is_no_json_or_no_route_is_refused(http: httpx.AsyncClient) -> None:
    """400 and 404; the models are listed."""
    assert (await http.post("/chat/completions", content=b"{")).status_code == 400
    assert (await http.post("/chat/completions", content=b"[]")).status_code == 400
    assert (await http.get("/nothing")).status_code == 404
    models = (await http.get("/models")).json()["data"]
    assert "seattle-weather" in [model["id"] for model in models]
