"""Carries out the tools' calls, through the public client, with the caller's own key."""

from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

from mcp.shared.exceptions import MCPError
from mcp_types import INVALID_PARAMS, CallToolResult, TextContent
from pydantic import BaseModel

from sandbox_service.client import (
    ClientError,
    ExecutionCompleted,
    ExecutionResult,
    FileInfo,
    OutputChanged,
    ProtocolError,
    SandboxClient,
    Session,
)
from sandbox_service.client.text import size_text
from sandbox_service.mcp.answers import FileAnswer, FilesAnswer, ResetAnswer, UploadAnswer
from sandbox_service.mcp.arguments import (
    Arguments,
    ExecutePython,
    ListFiles,
    ReadFile,
    Reset,
    UploadFile,
    UploadLocalFile,
    WrongArguments,
    parsed,
)
from sandbox_service.mcp.failures import (
    CutShort,
    means_session_is_over,
    refused,
    told,
    told_cut_short,
)
from sandbox_service.mcp.progress import Progress, Report, told_progress
from sandbox_service.mcp.reading import MOST_READ_BYTES, found, read_result, too_large
from sandbox_service.mcp.sessions import Opened, Sessions
from sandbox_service.mcp.shape import session_line, tool_result
from sandbox_service.mcp.shaping import shaped
from sandbox_service.mcp.text import paragraphs
from sandbox_service.mcp.tools import Definition
from sandbox_service.mcp.uploading import source_of

MOST_LISTED = 500
MOST_LISTED_CHARS = 40_000

Work = Callable[[Opened], Awaitable[CallToolResult]]


@dataclass(frozen=True, slots=True)
class Place:
    """Where calls are carried out: the service, its sessions, where links to it lead, a shared folder."""

    client: SandboxClient
    sessions: Sessions
    base_url: str
    keeps_session: bool
    folder: Path | None = None


class Calls:
    """The tools' calls of one client. `report` tells a client how the call goes on."""

    def __init__(self, place: Place, report: Report) -> None:
        self._place = place
        self._sessions = place.sessions
        self._report = report

    async def call(self, tool: Definition, arguments: dict[str, Any] | None) -> CallToolResult:
        """The tool's result. Raises MCPError for what is not the model's to mend."""
        try:
            asked = parsed(tool.arguments, arguments)
            if not (asked.session_id or tool.makes_session or self._place.keeps_session):
                raise WrongArguments("Nothing was done. session_id: name that of an earlier result")
            return await self._in_session(asked.session_id, self._work(asked))
        except WrongArguments as error:
            return refused(str(error))
        except CutShort as cut:
            return told_cut_short(cut)
        except ClientError as error:
            return told(error)
        except OSError as error:
            return refused(f"A file could not be read: {error.strerror or error}.")

    def _work(self, asked: Arguments) -> Work:
        match asked:
            case ExecutePython():
                return lambda opened: self._execute(opened, asked)
            case UploadFile() | UploadLocalFile():
                return lambda opened: self._upload(opened, asked)
            case ListFiles():
                return self._list
            case ReadFile():
                return lambda opened: self._read(opened, asked)
            case Reset():
                return self._reset
        raise MCPError(INVALID_PARAMS, f"There is no such tool: {type(asked).__name__}")

    async def _in_session(self, session_id: str, work: Work) -> CallToolResult:
        """What `work` makes of the session; one found to be over before it began is replaced, once."""
        for is_second_try in (False, True):
            async with self._sessions.opened(session_id) as opened:
                try:
                    return await work(opened)
                except CutShort as cut:
                    self._lets_go(opened, cut.error)
                    raise
                except ClientError as error:
                    if not self._lets_go(opened, error) or is_second_try:
                        raise
        raise AssertionError("unreachable")

    def _lets_go(self, opened: Opened, error: ClientError) -> bool:
        return means_session_is_over(error) and self._sessions.let_go(opened.session, error)

    async def _execute(self, opened: Opened, asked: ExecutePython) -> CallToolResult:
        async with told_progress(self._report) as progress:
            result = await _run(opened.session, asked, progress)
        self._sessions.note_result(opened.session, result)
        return await shaped(tool_result, result, opened.news)

    async def _upload(self, opened: Opened, asked: UploadFile) -> CallToolResult:
        source = await shaped(source_of, asked, self._place.folder)
        info = await opened.session.upload(source, asked.path)
        self._sessions.note_upload(opened.session, info.path, source)
        answer = UploadAnswer(session_id=opened.session.id, path=info.path, size=info.size)
        return _said(opened, f"Saved as /mnt/data/{info.path} ({size_text(info.size)}).", answer)

    async def _list(self, opened: Opened) -> CallToolResult:
        infos = await opened.session.files()
        listed = _first(infos)
        files = [FileAnswer(path=item.path, type=item.type, size=item.size) for item in listed]
        answer = FilesAnswer(session_id=opened.session.id, files=files, count=len(infos))
        return _said(opened, _listing(listed, len(infos)), answer)

    async def _read(self, opened: Opened, asked: ReadFile) -> CallToolResult:
        session = opened.session
        folder = asked.path.rpartition("/")[0]
        infos = await session.files(folder)
        info = next((item for item in infos if item.path == asked.path), None)
        if info is None or info.type != "file":
            raise WrongArguments(f"There is no file {asked.path} in /mnt/data.")
        file = found(info, session.id, self._place.base_url)
        if info.size > MOST_READ_BYTES:
            return too_large(file)
        return await shaped(read_result, file, await session.download(info.path))

    async def _reset(self, opened: Opened) -> CallToolResult:
        kernel = (await opened.session.restart()).raw["kernel"]
        answer = ResetAnswer(session_id=opened.session.id, epoch=kernel["epoch"], state="reset")
        text = "Python was started anew: variables and imports are gone, files are still there."
        return _said(opened, text, answer)


async def _run(session: Session, asked: ExecutePython, progress: Progress) -> ExecutionResult:
    """The finished execution. Raises CutShort for a failure after the code had begun.

    Leaving early interrupts the code: so does a call that is cancelled, and an assistant that dies.
    """
    begun = False
    stream = session.stream(asked.code, asked.timeout_s or None, cancel_on_disconnect=True)
    try:
        async with aclosing(stream) as events:
            async for event in events:
                begun = True
                if isinstance(event, OutputChanged):
                    progress.add(event)
                elif isinstance(event, ExecutionCompleted):
                    return event.result
    except ClientError as error:
        if begun:
            raise CutShort(error, session.id) from error
        raise
    raise CutShort(ProtocolError("the events ended without a result"), session.id)


def _first(infos: list[FileInfo]) -> list[FileInfo]:
    """As many as a message may hold: names can be long."""
    chars = accumulate(len(item.path) for item in infos[:MOST_LISTED])
    return [item for item, total in zip(infos, chars, strict=False) if total <= MOST_LISTED_CHARS]


def _listing(listed: list[FileInfo], count: int) -> str:
    lines = [
        f"{item.path}/" if item.type == "directory" else f"{item.path}  {size_text(item.size)}"
        for item in listed
    ]
    if count > len(listed):
        lines.append(f"[... {count - len(listed)} more ...]")
    return paragraphs(lines) or "There are no files in /mnt/data."


def _said(opened: Opened, text: str, answer: BaseModel) -> CallToolResult:
    whole = paragraphs([opened.news, text, session_line(opened.session.id)])
    return CallToolResult(
        content=[TextContent(text=whole)], structured_content=answer.model_dump(mode="json")
    )
