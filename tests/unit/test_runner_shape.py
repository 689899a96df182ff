"""What a model sees of an execution."""

import base64
from typing import Any

import pytest

from runner.shape import STATE_LOST, Shaped, ShapeLimits, image_message, shape_result
from sandbox_service.client import ExecutionResult, Image
from sandbox_service.client.parsing import parse_execution
from sandbox_service.client.transport import Transport

PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 100
NOW = "2026-01-02T03:04:05Z"


def result_of(*outputs: dict[str, Any], **changes: Any) -> ExecutionResult:
    body = {
        "id": "exec_1", "session_id": "sess_1", "status": "ok", "execution_count": 1,
        "outputs": list(outputs), "artifacts": [], "truncated": False, "notices": [],
        "duration_s": 0.1, "kernel": {"epoch": 1, "state": "kept"}, "session_expires_at": NOW,
    }  # fmt: skip
    return parse_execution(body | changes, Transport("http://127.0.0.1", None))


def stream(text: str) -> dict[str, Any]:
    return {"output_type": "stream", "name": "stdout", "text": text}


def value(**bundle: Any) -> dict[str, Any]:
    data = {name.replace("__", "+").replace("_", "/", 1): item for name, item in bundle.items()}
    return {"output_type": "execute_result", "execution_count": 1, "data": data, "metadata": {}}


def encoded(content: bytes) -> str:
    return base64.b64encode(content).decode()


def artifact(path: str, size: int = 10) -> dict[str, Any]:
    return {"id": "a", "path": path, "size": size, "media_type": "x/y", "sha256": "0", "url": "u"}


@pytest.mark.parametrize(
    ("outputs", "text"),
    [
        ([], "(The code printed and returned nothing.)"),
        ([stream("hello\n")], "hello"),
        ([stream("a\n"), value(text_plain="42")], "a\n42"),
        ([value(text_plain=["4", "2"])], "42"),
        ([value(text_html="<table>...</table>", text_plain="   a\n0  1")], "   a\n0  1"),
        ([value(text_markdown="**b**", text_plain="<M>")], "**b**"),
        ([value(text_latex="$x$", text_plain="x")], "$x$"),
        ([value(text_html="<b>only</b>")], "[shown to the user: text/html]"),
        ([value(image_svg__xml="<svg/>")], "[an SVG picture, shown to the user]"),
        ([value(image_png=encoded(PNG), text_plain="<Figure>")], "[picture 1, 108 B]"),
        ([value(image_png=encoded(b"not a picture"))], "[a picture that is not valid image/png]"),
        ([stream("\x1b[32m10%\r100%\x1b[0m")], "100%"),
    ],
)
def test_outputs_become_text(outputs: list[dict[str, Any]], text: str) -> None:
    """One case for each kind of output, with the format that is chosen."""
    assert shape_result(result_of(*outputs)).text == text


@pytest.mark.parametrize(
    ("status", "words"),
    [
        ("timeout", "time limit"),
        ("interrupted", "interrupted"),
        ("out_of_memory", "more memory"),
        ("kernel_died", "Python process ended"),
        ("lost", "not the code's fault"),
    ],
)
def test_an_ending_other_than_the_codes_own_is_said(status: str, words: str) -> None:
    """Plain words, after what was printed."""
    text = shape_result(result_of(stream("before\n"), status=status)).text
    assert text.startswith("before\n")
    assert words in text


def test_lost_state_is_said_plainly() -> None:
    """`state: reset` means that variables are gone."""
    reset = result_of(stream("x"), kernel={"epoch": 2, "state": "reset"})
    assert STATE_LOST in shape_result(reset).text
    assert STATE_LOST not in shape_result(result_of(stream("x"))).text


def test_notices_and_truncation_are_passed_on() -> None:
    """The service's own sentences reach the model."""
    text = shape_result(result_of(truncated=True, notices=["input() is not possible."])).text
    assert "The output was cut" in text
    assert "input() is not possible." in text


def test_files_are_listed_by_name_and_size() -> None:
    """No more than a few, then a count."""
    made = [artifact(f"f{number}.csv", 1500) for number in range(25)]
    text = shape_result(result_of(artifacts=made)).text
    assert "Files given to the user: f0.csv (1.5 kB), f1.csv (1.5 kB)" in text
    assert text.endswith("and 5 more")


def test_text_is_bounded_whatever_was_printed() -> None:
    """A flood keeps its head and tail."""
    outputs = [stream("line\n" * 100_000), *(value(text_plain="v" * 9000) for _ in range(50))]
    assert len(shape_result(result_of(*outputs)).text) < 13_000


def test_a_long_table_keeps_its_first_and_last_rows() -> None:
    """Text of a value is bounded in lines."""
    table = "\n".join(f"{number}  x" for number in range(500))
    text = shape_result(result_of(value(text_plain=table))).text
    assert text.startswith("0  x\n")
    assert text.endswith("499  x")
    assert text.count("\n") == ShapeLimits().value_lines


def test_an_error_shows_its_traceback_or_at_least_its_message() -> None:
    """The traceback wins; a huge message is bounded."""
    error = {"output_type": "error", "ename": "ValueError", "evalue": "bad " * 9000}
    bare = shape_result(result_of({**error, "traceback": []})).text
    assert bare.startswith("ValueError: bad")
    assert len(bare) < 4200
    full = shape_result(result_of({**error, "traceback": ["Cell In[1], line 1", "ValueError: x"]}))
    assert full.text == "Cell In[1], line 1\nValueError: x"


def test_pictures_are_bounded_in_number_and_bytes() -> None:
    """Those left out are named in the text."""
    small, large = value(image_png=encoded(PNG)), value(image_png=encoded(PNG + b"\0" * 3_000_000))
    shaped = shape_result(result_of(large, *[small] * 6))
    assert len(shaped.images) == ShapeLimits().images
    assert "too large to be shown to you" in shaped.text
    assert shaped.text.count("one more picture, not shown to you") == 2


def test_base64_never_reaches_the_text() -> None:
    """Neither of a picture nor of a bundle without a text form."""
    payload = encoded(PNG * 10)
    bundle = {"application/pdf": payload, "image/png": payload}
    shaped = shape_result(result_of({"output_type": "display_data", "data": bundle}))
    only_pdf = {"output_type": "display_data", "data": {"application/pdf": payload}}
    assert payload[:40] not in shaped.text + shape_result(result_of(only_pdf)).text


def test_pictures_become_one_message_of_image_parts() -> None:
    """Data URLs of the chat protocol; no message without pictures."""
    message = image_message([Image("image/png", PNG)])
    assert message is not None
    assert message["role"] == "user"
    assert message["content"][1]["image_url"]["url"] == f"data:image/png;base64,{encoded(PNG)}"
    assert image_message(Shaped("no pictures").images) is None
