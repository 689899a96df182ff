"""What the scripted model plays: a script is a list of turns, each a reply to the transcript."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from runner.scripted_model import code
from runner.scripted_model.transcript import Transcript


@dataclass(frozen=True, slots=True)
class ScriptedReply:
    """Text, and the cells to run; `arguments` replaces the cells by arguments sent as they are."""

    text: str = ""
    cells: tuple[str, ...] = ()
    arguments: str | None = None


Turn = Callable[[Transcript], ScriptedReply]


def says(text: str, *cells: str) -> Turn:
    """A turn that does not depend on what came before."""
    return lambda transcript: ScriptedReply(text, cells)


def reply_of(script: str, transcript: Transcript) -> ScriptedReply:
    """The next reply of a script; past its end it says that there is no more."""
    turns = _turns(script, transcript.questions)
    if transcript.turn < len(turns):
        return turns[transcript.turn](transcript)
    return ScriptedReply("The script is at its end.")


def script_names() -> list[str]:
    """Every script: the names of the models that are served."""
    return [*SCRIPTS, *CONVERSATIONS]


def _turns(script: str, questions: int) -> Sequence[Turn]:
    """A script answers every question alike, a conversation each of its questions in turn."""
    if script in SCRIPTS:
        return SCRIPTS[script]
    answers = CONVERSATIONS[script]
    return answers[questions - 1] if questions <= len(answers) else ()


def _quote(pattern: str, answer: str) -> Turn:
    """Answers with what the code printed: the groups of `pattern` in the latest result."""

    def turn(transcript: Transcript) -> ScriptedReply:
        found = re.search(pattern, transcript.last_result, re.DOTALL)
        if found is None:
            return ScriptedReply(
                f"The code did not give what I looked for: {transcript.last_result}"
            )
        return ScriptedReply(answer.format(*found.groups()))

    return turn


def _mend(transcript: Transcript) -> ScriptedReply:
    """Reads the name that was missing from the traceback and corrects it."""
    if "NameError: name 'totl' is not defined" not in transcript.last_result:
        return ScriptedReply(f"I expected a NameError, but got: {transcript.last_result}")
    return ScriptedReply("A typing error of mine: the variable is `total`.", (code.MENDED_CELL,))


def _echo(transcript: Transcript) -> ScriptedReply:
    return ScriptedReply("", (transcript.question,))


def _echo_result(transcript: Transcript) -> ScriptedReply:
    return ScriptedReply(transcript.last_result)


def _two_results(transcript: Transcript) -> ScriptedReply:
    return ScriptedReply(f"In order: {' then '.join(transcript.results)}.")


def _malformed(transcript: Transcript) -> ScriptedReply:
    return ScriptedReply("", arguments='{"code": "print(1)')


def _mend_arguments(transcript: Transcript) -> ScriptedReply:
    if "not valid JSON" not in transcript.last_result:
        return ScriptedReply(f"I expected to be corrected, but got: {transcript.last_result}")
    return ScriptedReply("", ("print('well formed')",))


SCRIPTS: dict[str, tuple[Turn, ...]] = {
    "seattle-weather": (
        says("I will look at the table first.", code.LOOK_AT_WEATHER),
        says("Now the averages, a chart of them, and a table to keep.", code.WEATHER_CHART),
        _quote(code.WEATHER_FACTS, code.WEATHER_ANSWER),
    ),
    "describe-files": (
        says("I will look at what is there.", code.DESCRIBE_FILES),
        _quote(r"(.+)", "This is what I found:\n\n{0}"),
    ),
    "fix-own-error": (
        says("Adding up.", code.BROKEN_CELL),
        _mend,
        _quote(r"total: (\d+)", "The total is {0}."),
    ),
    "two-calls": (says("Two steps at once.", "x = 6\nprint(x)", "print(x * 7)"), _two_results),
    "malformed-arguments": (_malformed, _mend_arguments, _echo_result),
    "echo": (_echo, _echo_result),
    "endless-cell": (says("", code.ENDLESS_CELL),),
    "never-ends": tuple(says("", f"print({number})") for number in range(1000)),
}  # fmt: skip

CONVERSATIONS: Mapping[str, tuple[tuple[Turn, ...], ...]] = {
    "weather-in-two-turns": (
        (
            says("I will draw it.", code.WEATHER_IN_ONE_CELL),
            _quote(code.WEATHER_FACTS, code.WEATHER_ANSWER_WITH_LINKS),
        ),
        (
            says("The table is still there.", code.WEATHER_AGAIN),
            _quote(code.WEATHER_AGAIN_FACTS, code.WEATHER_AGAIN_ANSWER),
        ),
    ),
}
