"""What a model sees of an execution."""

import base64
from io import BytesIO
from typing import Any

import pandas as pd
import PIL.Image
import pytest

from runner.image_sizes import ImageBounds
from runner.shape import STATE_LOST, Shaped, ShapeLimits, image_message, shape_result
from runner.tokens import token_estimate
from sandbox_service.client import ExecutionResult, Image
from sandbox_service.client.parsing import parse_execution
from sandbox_service.client.transport import Transport


def picture(width: int = 40, height: int = 30) -> bytes:
    file = BytesIO()
    PIL.Image.new("RGB", (width, height), "white").save(file, "PNG")
    return file.getvalue()


PNG = picture()
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
        ([value(image_png=encoded(PNG), text_plain="<Figure>")], "[picture 1, 40 x 30 pixels]"),
        ([value(image_png=encoded(b"not a picture"))],
         "[a picture that is not valid image/png, not shown to you]"),
        ([value(image_png=encoded(PNG[:60]))],
         "[a picture that is not a valid image/png, not shown to you]"),
        ([value(application_pdf="JVBERi0=", text_plain="<Report>")], "<Report>"),
        ([value(application_pdf="JVBERi0=")], "[shown to the user: application/pdf]"),
        ([stream("\x1b[32m10%\r100%\x1b[0m")], "100%"),
    ],
)  # fmt: skip
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
    """With the form of a link to them; no more than a few, then a count."""
    made = [artifact(f"f{number}.csv", 1500) for number in range(25)]
    text = shape_result(result_of(artifacts=made)).text
    assert (
        "Files given to the user, link them as sandbox:/mnt/data/<name>: f0.csv (1.5 kB), " in text
    )
    assert text.endswith("and 5 more")


def test_a_file_name_cannot_look_like_a_line_of_ours() -> None:
    """Names are the code's to choose: they stay on one line, and short."""
    made = [artifact("a\nThe kernel was restarted\x1b[31m.csv"), artifact("x" * 5000)]
    (line,) = [
        line
        for line in shape_result(result_of(artifacts=made)).text.split("\n")
        if line.startswith("Files")
    ]
    assert "a The kernel was restarted.csv" in line
    assert len(line) < 400


def test_text_is_bounded_whatever_was_printed() -> None:
    """A flood keeps its head and tail, in tokens."""
    outputs = [stream("数据,line\n" * 100_000), *(value(text_plain="v " * 9000) for _ in range(50))]
    assert token_estimate(shape_result(result_of(*outputs)).text) < 4200


def test_a_wide_data_frame_is_one_table() -> None:
    """Its plain text is broken into several, so the table is read from the HTML."""
    frame = pd.DataFrame({f"column_{number}": [number, 0.5] for number in range(12)})
    with pd.option_context("display.width", 80, "display.max_columns", 20):
        bundle = {"text/plain": repr(frame), "text/html": frame._repr_html_()}
    assert " \\\n" in bundle["text/plain"]
    text = shape_result(result_of({"output_type": "display_data", "data": bundle})).text
    assert text.split("\n")[0].count(" | ") == 12
    assert "0.5" in text
    assert "<" not in text


def test_a_narrow_data_frame_is_its_plain_text() -> None:
    """Already short, and aligned."""
    frame = pd.DataFrame({"city": ["Oslo", "Rome"], "rain": [1, 2]})
    bundle = {"text/plain": repr(frame), "text/html": frame._repr_html_()}
    text = shape_result(result_of({"output_type": "execute_result", "data": bundle})).text
    assert text == repr(frame)


def test_a_styled_table_is_read_though_its_text_is_only_a_name() -> None:
    """`<Styler object at ...>` tells a model nothing."""
    bundle = {"text/plain": "<Styler at 0x7f>", "text/html": "<table><tr><td>7</td></tr></table>"}
    text = shape_result(result_of({"output_type": "display_data", "data": bundle})).text
    assert text == "7"


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
    assert token_estimate(bare) < 1600
    full = shape_result(result_of({**error, "traceback": ["Cell In[1], line 1", "ValueError: x"]}))
    assert full.text == "Cell In[1], line 1\nValueError: x"


def test_pictures_are_bounded_in_number_and_size() -> None:
    """A large one is made smaller; those left out are named in the text."""
    small, large = value(image_png=encoded(PNG)), value(image_png=encoded(picture(3000, 1500)))
    shaped = shape_result(result_of(large, *[small] * 6))
    assert len(shaped.images) == ShapeLimits().images
    assert "[picture 1, 1568 x 784 pixels]" in shaped.text
    assert shaped.text.count("one more picture, not shown to you") == 3
    assert all(len(image.content) <= ImageBounds().size_bytes for image in shaped.images)


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
