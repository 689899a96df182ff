"""What weak models write instead of a proper call: tables of what is read, and of what is not."""

import json

import pytest

from runner.reply import Reply, ToolCall
from runner.tool import NAME
from runner.weak_models import Habits, has_proper_call, mended, mended_arguments, mended_name

CODE = 'print("a")\nx = 1'
PROPER = json.dumps({"code": CODE})


@pytest.mark.parametrize(
    "arguments",
    [
        PROPER,
        '{"code": "print(\\"a\\")\nx = 1"}',
        PROPER[:-1],
        PROPER + "}",
        PROPER + "</tool_call>",
        f"```json\n{PROPER}\n```",
        json.dumps(PROPER),
        f"{{'code': {CODE!r},}}",
        json.dumps(CODE),
        CODE,
        json.dumps({"python": CODE}),
        json.dumps({"code": CODE, "language": "python"}),
        json.dumps({"code": CODE.split("\n")}),
        json.dumps({"code": f"```python\n{CODE}\n```"}),
        json.dumps({"name": NAME, "arguments": {"code": CODE}}),
    ],
)
def test_arguments_with_one_meaning_are_made_proper(arguments: str) -> None:
    """Whatever the model wrapped them in, the code arrives unchanged."""
    assert json.loads(mended_arguments(arguments)) == {"code": CODE}


@pytest.mark.parametrize(
    "arguments",
    [
        '{"code": "print(1)',
        '{"code": "a = 1", "python": "b = 2"}',
        '{"code": "a"}{"code": "b"}',
        '{"query": "a"}',
        "{}",
        "",
        "[1, 2]",
        "please run it now",
        '{"code": 1}',
    ],
)
def test_arguments_with_several_meanings_or_none_stay_as_they_are(arguments: str) -> None:
    """The tool then says what is wrong with them."""
    assert mended_arguments(arguments) == arguments


def test_backslashes_that_json_does_not_know_are_kept_for_python() -> None:
    """A regular expression that was not escaped twice."""
    arguments = r'{"code": "re.findall(\"\d+\", \"a\\n\")"}'
    assert json.loads(mended_arguments(arguments))["code"] == 're.findall("\\d+", "a\\n")'


@pytest.mark.parametrize(
    "name",
    [
        NAME, "functions.execute_python", "execute_python:0", "functions.execute_python:3",
        "python", "code_interpreter", "ExecutePython", "execute-python",
    ],
)  # fmt: skip
def test_names_that_can_only_mean_the_tool_are_its_name(name: str) -> None:
    """There is one tool, and it runs Python."""
    assert mended_name(name) == NAME


@pytest.mark.parametrize("name", ["web_search", "", "read_file", "execute_sql"])
def test_names_of_other_tools_stay_as_they_are(name: str) -> None:
    """The model is told that there is no such tool."""
    assert mended_name(name) == name


NO_TOOLS = Habits(takes_tools=False)
CALLS = Habits(has_called=True)


def codes_of(text: str, habits: Habits = NO_TOOLS) -> list[str]:
    reply = mended(Reply(text), habits)
    assert all(call.name == NAME for call in reply.calls)
    return [json.loads(call.arguments)["code"] for call in reply.calls]


WRITTEN = json.dumps({"name": NAME, "arguments": {"code": CODE}})


@pytest.mark.parametrize(
    "text",
    [
        WRITTEN,
        f"<tool_call>\n{WRITTEN}\n</tool_call>",
        f"I look.\n<tool_call>{WRITTEN}</tool_call>",
        f"[TOOL_CALLS][{WRITTEN}]",
        f"<|python_tag|>{WRITTEN}",
        f"```json\n{WRITTEN}\n```",
        json.dumps({"name": "python", "parameters": {"code": CODE}}),
        json.dumps({"name": NAME, "arguments": PROPER}),
        f"<think>I could call {WRITTEN}.</think>{WRITTEN}",
    ],
)
def test_a_call_written_as_text_is_a_call(text: str) -> None:
    """In the notations of several families of models, also where the endpoint takes tools."""
    assert codes_of(text, Habits()) == [CODE]


def test_two_calls_written_as_text_are_two_calls() -> None:
    """In their order, each with an id of its own."""
    text = f"<tool_call>{WRITTEN}</tool_call>\n<tool_call>{WRITTEN}</tool_call>"
    reply = mended(Reply(text), Habits())
    assert len({call.id for call in reply.calls}) == 2


@pytest.mark.parametrize("language", ["python", "py", "Python", "tool_code"])
def test_a_fence_that_ends_the_text_is_a_call(language: str) -> None:
    """What was said before it stays; the history has the call as it should have been."""
    reply = mended(Reply(f"I add up.\n\n```{language}\n{CODE}\n```\n"), NO_TOOLS)
    assert reply.text == "I add up."
    assert json.loads(reply.calls[0].arguments) == {"code": CODE}


@pytest.mark.parametrize(
    "text",
    [
        f"Like this:\n```python\n{CODE}\n```\nThat prints a letter.",
        "```json\n{}\n```",
        "```\nls\n```",
        f"<think>\n```python\n{CODE}\n```\n</think>The answer is 4.",
        f"<think>\n```python\n{CODE}\n```",
        "The answer is 4.",
        '{"name": "web_search", "arguments": {"code": "x"}}',
        f"{WRITTEN} is how I would call it.",
    ],
)
def test_text_that_only_speaks_of_code_is_not_run(text: str) -> None:
    """Code in the middle, in another language, or thought of."""
    assert codes_of(text) == []


@pytest.mark.parametrize(
    "words",
    [
        "Do not run this:",
        "Don’t execute it yet:",
        "Do **not**\nrun this:",
        "You can run this yourself:",
        "You could have it without running anything:",
        "This should never be run.",
        "I would call it like this, but I'm not going to run it:",
        "Führe das nicht aus:",
        "Das bitte nicht ausführen:",
        "N'exécutez pas ceci, il ne faut pas l'exécuter :",
        "No lo ejecutes:",
        "不要运行：",
        "This is just an example:",
    ],
)
def test_nothing_is_run_against_the_models_own_words(words: str) -> None:
    """Whatever stands for a call elsewhere, with tools and without them."""
    fence, call = f"```python\n{CODE}\n```", f"<tool_call>{WRITTEN}</tool_call>"
    assert codes_of(f"{words}\n\n{fence}") == []
    for habits in (NO_TOOLS, Habits(), CALLS):
        assert codes_of(f"{words}\n\n{call}", habits) == []
    comment = words.replace("\n", " ")
    commented = json.dumps({"name": NAME, "arguments": {"code": f"# {comment}\n{CODE}"}})
    assert codes_of(commented, Habits()) == []


@pytest.mark.parametrize(
    "words",
    [
        "I run this to see whether there are no gaps.",
        "I have not seen the data. Let me run this:",
        "I'm not sure, so I execute it:",
        "The correlation is not known yet; this computes it.",
        "Ich führe das aus:",
    ],
)
def test_words_that_only_look_like_a_no_stop_nothing(words: str) -> None:
    assert codes_of(f"{words}\n\n```python\n{CODE}\n```") == [CODE]


@pytest.mark.parametrize("before", ["This is how it is called:\n", "An answer.\n```json\n"])
def test_json_at_the_end_of_an_answer_is_a_part_of_the_answer(before: str) -> None:
    for habits in (NO_TOOLS, Habits(), CALLS):
        assert codes_of(f"{before}{WRITTEN}", habits) == []


def test_json_alone_is_text_for_a_model_that_has_called_properly() -> None:
    assert codes_of(WRITTEN, Habits()) == [CODE]
    assert codes_of(WRITTEN, CALLS) == []


def test_a_fence_is_text_for_a_model_that_can_call() -> None:
    """It shows code to the person then, also when it has not called yet."""
    assert codes_of(f"```python\n{CODE}\n```", Habits()) == []


def test_only_calls_that_were_made_as_calls_count_as_proper() -> None:
    """A model that writes fences is read the same way in its next turn, in any process."""
    from_fence = mended(Reply(f"```python\n{CODE}\n```"), NO_TOOLS).message()
    assert not has_proper_call([{"role": "user", "content": "x"}, from_fence])
    assert has_proper_call([Reply("", [ToolCall("c1", NAME, PROPER)]).message()])
