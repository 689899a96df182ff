"""The tools as clients list them: names, descriptions, schemas and hints."""

from collections.abc import Sequence
from dataclasses import dataclass

from mcp_types import Tool, ToolAnnotations
from pydantic import BaseModel

from sandbox_service.client.wording import EXECUTE_PYTHON, description
from sandbox_service.mcp.answers import (
    ExecutionAnswer,
    FilesAnswer,
    ReadAnswer,
    ResetAnswer,
    UploadAnswer,
    output_schema_of,
)
from sandbox_service.mcp.arguments import (
    Arguments,
    ExecutePython,
    ListFiles,
    ReadFile,
    Reset,
    UploadFile,
    UploadLocalFile,
    schema_of,
)

KEPT_SESSION = (
    "Leave it out: this conversation's session is kept, and opened anew when it is over. "
    "Only to use another session, name it by its id."
)
NAMED_SESSION = (
    "The session_id of an earlier result, to go on with its variables and files. "
    "Left out, a new session is opened; the result names it."
)
LINKING = "In your answer, link it by the url that comes with the result."
NAMED_STATE = "\nPass the session_id of the last result to go on in the same session."

INSTRUCTIONS = """\
A sandbox that runs Python in a Jupyter kernel and gives back what the code prints, shows and \
saves. Variables, imports and files stay in a session. {session} Files that the code writes to \
/mnt/data come back as links; give those links to the user."""


@dataclass(frozen=True, slots=True)
class Definition:
    """A tool before it is known which way clients come in."""

    name: str
    title: str
    description: str
    arguments: type[Arguments]
    answer: type[BaseModel]
    hints: ToolAnnotations
    makes_session: bool = True


_READS = ToolAnnotations(read_only_hint=True, open_world_hint=False)
_RUNS = ToolAnnotations(read_only_hint=False, destructive_hint=True, open_world_hint=False)
_WRITES = ToolAnnotations(
    read_only_hint=False, destructive_hint=False, idempotent_hint=True, open_world_hint=False
)

_LIST = Definition(
    "list_files",
    "List files",
    "Names and sizes of the files in /mnt/data.",
    ListFiles,
    FilesAnswer,
    _READS,
    makes_session=False,
)
_READ = Definition(
    "read_file",
    "Read a file",
    "A file of /mnt/data: text as text, long text cut in the middle; a picture as a picture; anything "
    f"else as a file. Large data is better looked at with {EXECUTE_PYTHON}.",
    ReadFile,
    ReadAnswer,
    _READS,
    makes_session=False,
)
_RESET = Definition(
    "reset",
    "Restart Python",
    "Start a fresh kernel in the session: variables and imports are gone, files stay.",
    Reset,
    ResetAnswer,
    _RUNS,
    makes_session=False,
)


def definitions(*, has_folder: bool = False) -> Sequence[Definition]:
    """Every tool; with a folder of this computer that files may come from, or without."""
    return (_execute(), _upload(has_folder=has_folder), _LIST, _READ, _RESET)


def _execute() -> Definition:
    text = description(LINKING)
    return Definition(EXECUTE_PYTHON, "Run Python", text, ExecutePython, ExecutionAnswer, _RUNS)


def _upload(*, has_folder: bool) -> Definition:
    text = (
        "Put a file into /mnt/data, where the code can read it: text as it is, all else as base64"
    )
    more = ", or a file of this computer by its local_path" if has_folder else ""
    arguments = UploadLocalFile if has_folder else UploadFile
    title = "Upload a file"
    return Definition("upload_file", title, f"{text}{more}.", arguments, UploadAnswer, _WRITES)


def tool_of(definition: Definition, *, keeps_session: bool) -> Tool:
    """The tool as it is listed, where a session is kept for the client or is not."""
    needs_session = not keeps_session and not definition.makes_session
    session_text = KEPT_SESSION if keeps_session else NAMED_SESSION
    if needs_session:
        session_text = "The session_id of an earlier result."
    schema = schema_of(definition.arguments, session_text, needs_session=needs_session)
    more = "" if keeps_session or needs_session else NAMED_STATE
    return Tool(
        name=definition.name,
        title=definition.title,
        description=definition.description + more,
        input_schema=schema,
        output_schema=output_schema_of(definition.answer),
        annotations=definition.hints,
    )


def instructions(*, keeps_session: bool) -> str:
    """What a client may tell its model of the server as a whole."""
    kept = "One session is kept for this conversation."
    named = "Pass the session_id of a result in the next call; without it a new session is opened."
    return INSTRUCTIONS.format(session=kept if keeps_session else named)
