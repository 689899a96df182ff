"""From a tool call to a shaped result: one session per conversation, opened on first use."""

from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from runner.events import CallFinished, CodeStarted, FileMade, OutputSeen, ToolEvent
from runner.shape import Shaped, ShapeLimits, shape_result
from runner.tool import NAME, MalformedCall, parse_arguments
from sandbox_service.client import (
    ApiError,
    Artifact,
    ArtifactMade,
    Event,
    ExecutionCompleted,
    InvalidRequest,
    NotFound,
    OutputChanged,
    SandboxClient,
    Session,
    SessionGone,
    SessionOptions,
)

RESTORED_BYTES = 64 * 1024 * 1024
"""Larger files that the code made are not put into a replacing session."""

REASONS = {
    "session_expired": "it was not used for too long",
    "session_closed": "it was closed",
    "session_lost": "its sandbox failed",
    "sandbox_lost": "its sandbox failed",
}


class Tool(Protocol):
    """What the loop needs of a tool."""

    def call(self, name: str, arguments: str) -> AsyncGenerator[ToolEvent]:
        """Carry out one call and yield what happens; the last event is CallFinished."""
        ...


@dataclass
class PythonTool:
    """`execute_python` for one conversation; an async context manager that closes its session.

    `files` are put into the session when it is opened. A session that is over is replaced by a
    new one with the same files and the latest version of those that the code made, and the model
    is told. Raises ClientError when the service itself cannot be used.
    """

    client: SandboxClient
    files: Mapping[str, Path] = field(default_factory=dict)
    options: SessionOptions = field(default_factory=lambda: SessionOptions())
    timeout_s: float | None = None
    limits: ShapeLimits = field(default_factory=ShapeLimits)
    _session: Session | None = field(default=None, init=False)
    _made: dict[str, Artifact] = field(default_factory=dict, init=False)
    _over: str = field(default="", init=False)
    _news: str = field(default="", init=False)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def call(self, name: str, arguments: str) -> AsyncGenerator[ToolEvent]:
        """Carry out one call of the model. What the model did wrong is told to the model."""
        try:
            code = parse_call(name, arguments)
        except MalformedCall as error:
            yield CallFinished(Shaped(str(error)))
            return
        yield CodeStarted(code)
        async with aclosing(self._run(code)) as events:
            async for event in events:
                yield event

    async def _run(self, code: str) -> AsyncGenerator[ToolEvent]:
        """Run the code; a session found to be over before it began is replaced, once."""
        for is_second_try in (False, True):
            session = await self._opened()
            begun = False
            try:
                sent = session.stream(code, self.timeout_s, cancel_on_disconnect=True)
                async with aclosing(sent) as events:
                    async for event in events:
                        begun = True
                        for told in self._told(event):
                            yield told
                return
            except ApiError as error:
                finished = self._failed(error, may_retry=not begun and not is_second_try)
                if finished is not None:
                    yield finished
                    return

    async def _opened(self) -> Session:
        """The conversation's session, opened and filled if there is none."""
        if self._session is None:
            self._session = await self.client.new_session(**self.options)
            names = await self._fill(self._session)
            if self._over:
                self._news, self._over = _news_of_new_session(self._over, names), ""
        return self._session

    async def _fill(self, session: Session) -> list[str]:
        """Put in the user's files and those that the code had made; returns their names."""
        for name, path in self.files.items():
            await session.upload(path, name)
        names = list(self.files)
        for name, artifact in self._made.items():
            if await _restored(session, artifact):
                names.append(name)
        return list(dict.fromkeys(names))

    def _told(self, event: Event) -> Iterator[ToolEvent]:
        """What of a service's event is passed on."""
        match event:
            case OutputChanged():
                yield OutputSeen(event)
            case ArtifactMade(artifact=artifact):
                self._made[artifact.path] = artifact
                yield FileMade(artifact)
            case ExecutionCompleted(result=result):
                shaped = shape_result(result, self.limits)
                yield CallFinished(self._with_news(shaped), result)

    def _with_news(self, shaped: Shaped) -> Shaped:
        news, self._news = self._news, ""
        return Shaped(f"{news}\n{shaped.text}", shaped.images) if news else shaped

    def _failed(self, error: ApiError, *, may_retry: bool) -> CallFinished | None:
        """The end of the call, or None to try again in a new session. Raises our own failures."""
        if isinstance(error, InvalidRequest):
            return CallFinished(Shaped(f"Nothing was run: {error.message}"))
        if not _means_session_is_over(error):
            raise error
        self._session, self._over = None, REASONS.get(error.code, error.message)
        if may_retry:
            return None
        return CallFinished(
            Shaped(
                f"The code did not finish: the session is over, {self._over}. The next call gets "
                "a new session: variables and imports are gone."
            )
        )


def parse_call(name: str, arguments: str) -> str:
    """The code that the model wants to run. Raises MalformedCall."""
    if name != NAME:
        raise MalformedCall(f"There is no tool named {name!r}; the only one is {NAME}.")
    return parse_arguments(arguments)


def _means_session_is_over(error: ApiError) -> bool:
    """A session whose record is already forgotten answers 404, as if it had never been."""
    return isinstance(error, SessionGone | NotFound) or error.code == "sandbox_lost"


def _news_of_new_session(reason: str, names: list[str]) -> str:
    files = f"files restored: {', '.join(names)}" if names else "there are no files"
    return (
        f"A new session was opened, since the one before is over: {reason}. "
        f"Variables and imports are gone; {files}."
    )


async def _restored(session: Session, artifact: Artifact) -> bool:
    """Whether the file could be put back: it may be too large, or kept no longer."""
    if artifact.size > RESTORED_BYTES:
        return False
    try:
        await session.upload(await artifact.read(), artifact.path)
    except NotFound:
        return False
    return True
