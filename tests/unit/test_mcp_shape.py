"""What an MCP client gets of an execution, of a file, and of a failure."""

import base64
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from mcp.shared.exceptions import MCPError
from mcp_types import (
    INTERNAL_ERROR,
    INVALID_REQUEST,
    CallToolResult,
    EmbeddedResource,
    ImageContent,
    ResourceLink,
    TextContent,
)

from runner import tool as runner_tool
from sandbox_service.client import ClientError, ExecutionResult, ServiceUnreachable, StreamBroken
from sandbox_service.client.errors import api_error
from sandbox_service.client.parsing import parse_artifact
from sandbox_service.client.text import plain, size_text
from sandbox_service.client.transport import Transport
from sandbox_service.client.wording import CODE, EXECUTE_PYTHON, description
from sandbox_service.mcp.failures import CutShort, told, told_cut_short
from sandbox_service.mcp.pictures import MOST_BYTES, SIGNATURES
from sandbox_service.mcp.reading import Found, read_result
from sandbox_service.mcp.server import result_for
from sandbox_service.mcp.shape import TEXT_CHARS, tool_result
from sandbox_service.mcp.text import short, short_traceback

PNG = SIGNATURES["image/png"] + b"\0\0\0\rIHDR" + (640).to_bytes(4) + (480).to_bytes(4)
ONE_MIB = 1024 * 1024
NOWHERE = Transport("http://service.test", None, httpx.MockTransport(lambda _: httpx.Response(404)))


def stream(text: str) -> dict[str, Any]:
    return {"output_type": "stream", "name": "stdout", "text": text}


def shown(data: dict[str, Any]) -> dict[str, Any]:
    return {"output_type": "display_data", "data": data, "metadata": {}}


def picture(content: bytes, media_type: str = "image/png") -> dict[str, Any]:
    return shown({media_type: base64.b64encode(content).decode(), "text/plain": "<Figure>"})


def executed(*outputs: dict[str, Any], files: int = 0, **changes: Any) -> ExecutionResult:
    values: dict[str, Any] = {
        "id": "exec_1",
        "session_id": "sess_1",
        "status": "ok",
        "execution_count": 1,
        "outputs": outputs,
        "artifacts": tuple(artifact(number) for number in range(files)),
        "truncated": False,
        "notices": (),
        "duration_s": 0.5,
        "epoch": 1,
        "state": "kept",
        "session_expires_at": datetime(2026, 1, 2, tzinfo=UTC),
        "raw": {},
    }
    return ExecutionResult(**{**values, **changes})


def artifact(number: int) -> Any:
    body = {"id": f"art_{number}", "path": f"{number}.csv", "size": 1500, "sha256": ""}
    url = f"http://service.test/v1/artifacts/art_{number}/content?signature=s"
    return parse_artifact({**body, "media_type": "text/csv", "url": url}, NOWHERE)


def text_of(result: CallToolResult) -> str:
    (block,) = [block for block in result.content if isinstance(block, TextContent)]
    return block.text


def kinds(result: CallToolResult, kind: type[Any]) -> list[Any]:
    return [block for block in result.content if isinstance(block, kind)]


SAID = [
    (executed(stream("one\n"), stream("two")), "one\ntwo"),
    (executed(), "(The code printed and returned nothing.)"),
    (executed(stream("10%\r20%\r30%\n")), "30%"),
    (executed(stream("\x1b[31mred\x1b[0m")), "red"),
    (executed(shown({"text/plain": "42"})), "42"),
    (executed(shown({"text/markdown": "**b**", "text/plain": "<M>"})), "**b**"),
    (executed(shown({"application/json": {}})), "[shown as application/json]"),
    (executed(picture(b"<svg/>", "image/svg+xml")), "[an SVG picture, not shown to you]"),
    (executed(picture(b"no picture")), "[a picture that is not valid image/png]"),
    (executed(status="timeout"), "it ran longer than its time limit"),
    (executed(status="timeout", notices=("Stopped after 2 s.",)), "Stopped after 2 s."),
    (executed(state="reset"), "The kernel was restarted"),
    (executed(truncated=True), "The output was cut"),
    (executed(files=1), "Files given to the user: 0.csv (1.5 kB)"),
    (executed(files=22), "19.csv (1.5 kB) and 2 more"),
]


@pytest.mark.parametrize(("result", "text"), SAID)
def test_the_text_says_what_happened(result: ExecutionResult, text: str) -> None:
    assert text in text_of(tool_result(result))


def test_every_result_hands_back_its_session_to_the_model_and_to_programs() -> None:
    result = tool_result(executed(stream("1")))
    assert text_of(result).endswith("session_id: sess_1")
    assert result.structured_content["session_id"] == "sess_1"
    assert result.structured_content["output"] == "1"


@pytest.mark.parametrize("status", ["error", "timeout", "out_of_memory", "kernel_died", "lost"])
def test_an_outcome_other_than_ok_is_an_error_of_the_tool(status: str) -> None:
    assert tool_result(executed(status=status)).is_error
    assert not tool_result(executed()).is_error


def test_long_output_is_cut_in_the_middle() -> None:
    lines = "\n".join(f"line {number}" for number in range(100_000))
    text = text_of(tool_result(executed(stream(lines))))
    assert text.startswith("line 0\n")
    assert "line 99999" in text
    assert "characters left out" in text
    assert len(text) < TEXT_CHARS + 200


def test_pictures_are_images_within_a_bound_and_never_text() -> None:
    """The fourth still fits, the fifth is one too many."""
    result = tool_result(executed(*[picture(PNG + bytes([n])) for n in range(5)]))
    images = kinds(result, ImageContent)
    assert [image.mime_type for image in images] == ["image/png"] * 4
    assert base64.b64decode(images[1].data) == PNG + b"\1"
    assert images[0].data not in text_of(result)
    assert "[picture 4, 25 B]\n[one more picture, not shown to you" in text_of(result)


@pytest.mark.parametrize(
    "content",
    [PNG.ljust(MOST_BYTES + 1, b"\0"), SIGNATURES["image/png"] + b"\0\0\0\rIHDR" + b"\0\1\0\0" * 2],
    ids=["too many bytes", "too many dots"],
)
def test_a_picture_that_no_client_would_take_is_named_only(content: bytes) -> None:
    result = tool_result(executed(picture(content)))
    assert kinds(result, ImageContent) == []
    assert "too large to be shown: use a lower dpi" in text_of(result)


def test_the_largest_result_fits_into_the_message_that_clients_take() -> None:
    """The official client refuses a message above one MiB, whatever its letters."""
    outputs = [picture(PNG.ljust(MOST_BYTES // 4, b"\0")) for _ in range(4)]
    result = tool_result(executed(stream("\N{SNAKE}" * 20_000), *outputs, files=100))
    assert len(kinds(result, ImageContent)) == 4
    message = result.model_dump_json(by_alias=True, ensure_ascii=True)
    assert len(message) < ONE_MIB


def test_files_are_links_with_their_size_and_type() -> None:
    links = kinds(tool_result(executed(files=30)), ResourceLink)
    assert len(links) == 20
    assert (links[0].name, links[0].size, links[0].mime_type) == ("0.csv", 1500, "text/csv")
    assert links[0].uri.endswith("?signature=s")


def test_old_clients_get_links_as_text_and_no_structure() -> None:
    old = result_for("2025-03-26", tool_result(executed(files=1)))
    assert kinds(old, ResourceLink) == []
    assert "0.csv: http://service.test/" in kinds(old, TextContent)[-1].text
    assert old.structured_content is None
    new = tool_result(executed(files=1))
    assert result_for("2025-06-18", new) is new


def found(size: int = 3) -> Found:
    return Found("sess_1", "a.dat", size, "http://service.test/v1/sessions/sess_1/files/a.dat")


FILES = [
    (b"a,b\n", "text", TextContent),
    (b"\xef\xbb\xbfmarked", "text", TextContent),
    (b"", "text", TextContent),
    (PNG, "image", ImageContent),
    (b"\xff\xfe\x00", "binary", EmbeddedResource),
    (b"nul \0", "binary", EmbeddedResource),
    (bytes(600_000), "too_large", ResourceLink),
    (PNG.ljust(MOST_BYTES + 1, b"\0"), "too_large", ResourceLink),
]


@pytest.mark.parametrize(("content", "kind", "block"), FILES)
def test_a_file_is_read_in_the_form_that_it_has(
    content: bytes, kind: str, block: type[Any]
) -> None:
    result = read_result(found(len(content)), content)
    assert result.structured_content["kind"] == kind
    assert kinds(result, block)
    assert len(result.model_dump_json(ensure_ascii=True)) < ONE_MIB


def test_a_long_text_file_is_cut_in_the_middle() -> None:
    content = b"".join(b"%d\n" % number for number in range(100_000))
    text = read_result(found(len(content)), content).structured_content["text"]
    assert text.startswith("0\n1\n")
    assert text.endswith("99999\n")
    assert len(text) < 21_000


def refusal(kind: str, code: str, status: int = 400, **details: Any) -> ClientError:
    error = {"type": kind, "code": code, "message": "As the service says.", **details}
    return api_error({"error": error}, status)


FOR_THE_MODEL = [
    (refusal("invalid_request_error", "too_large", 413), "As the service says."),
    (refusal("not_found_error", "not_found", 404), "As the service says."),
    (refusal("conflict_error", "conflict", 409), "As the service says."),
    (refusal("gone_error", "session_expired", 410), "it was not used for too long"),
]


@pytest.mark.parametrize(("error", "text"), FOR_THE_MODEL)
def test_what_the_model_can_mend_is_a_result_that_it_sees(error: ClientError, text: str) -> None:
    result = told(error)
    assert result.is_error
    assert text in text_of(result)
    assert result.structured_content is None


FOR_THE_CLIENT = [
    (refusal("authentication_error", "invalid_api_key", 401), INVALID_REQUEST),
    (refusal("permission_error", "permission_denied", 403), INVALID_REQUEST),
    (refusal("rate_limit_error", "rate_limited", 429), INVALID_REQUEST),
    (refusal("unavailable_error", "unavailable", 503), INTERNAL_ERROR),
    (refusal("internal_error", "internal_error", 500), INTERNAL_ERROR),
]


@pytest.mark.parametrize(("error", "code"), FOR_THE_CLIENT)
def test_what_the_model_cannot_mend_is_an_error_of_the_protocol(
    error: ClientError, code: int
) -> None:
    with pytest.raises(MCPError, match="As the service says") as failure:
        told(error)
    assert failure.value.code == code
    assert failure.value.data["code"]


def test_a_service_that_cannot_be_reached_is_an_error_of_the_protocol() -> None:
    with pytest.raises(MCPError, match="no answer"):
        told(ServiceUnreachable("no answer from there"))


def test_code_whose_events_were_lost_is_not_called_failed() -> None:
    text = text_of(told_cut_short(CutShort(StreamBroken("exec_1", 3), "sess_1")))
    assert "may be running still" in text
    assert text.endswith("session_id: sess_1")


def test_code_whose_session_ended_under_it_is_told_so() -> None:
    lost = refusal("unavailable_error", "sandbox_lost", 503)
    text = text_of(told_cut_short(CutShort(lost, "sess_1")))
    assert "The code did not finish: the session is over, its sandbox failed." in text


TRACEBACK = [
    "-----------------------------------------------------",
    "\x1b[31mKeyError\x1b[0m   Traceback (most recent call last)",
    "Cell In[1], line 2\n----> 2 df['x']",
    "File /usr/lib/pandas/frame.py:1\nlong",
    "File /usr/lib/pandas/index.py:2\nlonger",
    "KeyError: 'x'",
]


def test_of_a_traceback_the_users_frames_are_kept_and_the_last_of_a_library_is_named() -> None:
    assert short_traceback(TRACEBACK).split("\n") == [
        "KeyError   Traceback (most recent call last)",
        "Cell In[1], line 2",
        "----> 2 df['x']",
        "[File /usr/lib/pandas/index.py:2]",
        "KeyError: 'x'",
    ]


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (120_000, "120 kB")]
)
def test_sizes_are_for_people(size: int, text: str) -> None:
    assert size_text(size) == text


@pytest.mark.parametrize(("most", "length"), [(10, 5), (5, 5), (3, 4000)])
def test_short_text_is_never_much_longer_than_it_may_be(most: int, length: int) -> None:
    assert len(short("x" * length, most)) <= max(most, length if length <= most else most + 60)


def test_windows_line_ends_and_bells_are_plain() -> None:
    assert plain("a\r\nb\a\x00c") == "a\nbc"


def test_models_are_told_of_the_tool_in_the_same_words_by_mcp_and_by_the_runner() -> None:
    """But for how a file is linked: only the runner makes links of `sandbox:` paths."""
    linking = "In your answer, link it as [name](sandbox:/mnt/data/name)."
    assert description(linking) == runner_tool.description()
    assert runner_tool.PARAMETERS["properties"]["code"]["description"] == CODE
    assert runner_tool.NAME == EXECUTE_PYTHON
