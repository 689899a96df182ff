"""From a tool call to a shaped result: one session per conversation, opened on first use."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from runner.conversation import Conversation, FileSources, named_files
from runner.events import CallFinished, CodeStarted, FileMade, OutputSeen, ToolEvent
from runner.links import LinkedText, with_links
from runner.results import Results
from runner.shape import Shaped, ShapeLimits, shape_result
from runner.tool import NAME, MalformedCall, parse_arguments
from sandbox_service.client import (
    ApiError,
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

Arguments = str | Mapping[str, Any]
"""The arguments of a call, as JSON or parsed already."""


class Tool(Protocol):
    """What the loop needs of a tool."""

    def call(self, name: str, arguments: str) -> AsyncGenerator[ToolEvent]:
        """Carry out one call and yield what happens; the last event is CallFinished."""
        ...


@dataclass
class PythonTool:
    """`execute_python` for one conversation; an async context manager that closes its session.

    async with PythonTool(files=["sales.csv"]) as python:
        finished = await python.run({"code": "1 + 1"})

    Without a client it makes one of its own, from SANDBOX_URL and SANDBOX_API_KEY. `files` are put
    into the session when it is opened. A session that is over is replaced by a new one with the
    same files and the latest version of those that the code made, and the model is told. Calls
    made at the same time run one after the other, in their order. `on_event` sees what happens
    while it happens. With `keep_session` the session is not closed at the end: `state()` can be
    stored, and `from_state` goes on with it. Methods raise ClientError when the service itself
    cannot be used.
    """

    client: SandboxClient | None = None
    files: FileSources = ()
    options: SessionOptions = field(default_factory=lambda: SessionOptions())
    timeout_s: float | None = None
    limits: ShapeLimits = field(default_factory=ShapeLimits)
    keep_session: bool = False
    on_event: Callable[[ToolEvent], None] | None = None
    results: Results = field(default_factory=Results, init=False)
    _conversation: Conversation = field(default_factory=Conversation, init=False)
    _own_client: SandboxClient | None = field(default=None, init=False)
    # Keeps calls that a framework starts together in their order, and opens one session for them.
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock, init=False)

    def __post_init__(self) -> None:
        self._conversation.files = named_files(self.files)

    @classmethod
    def from_state(
        cls, state: Mapping[str, Any], client: SandboxClient | None = None, **settings: Any
    ) -> Self:
        """Go on with a conversation of another process; its session is kept unless you say so.

        `files` among the settings replace given ones of the same name, whose paths the state holds.
        Links to files made before are as old as the state: `refresh_links` renews them.
        """
        files = named_files(settings.pop("files", ()))
        tool = cls(client, **{"keep_session": True, **settings})
        tool._conversation = Conversation.from_state(state)
        tool._conversation.files |= files
        return tool

    def state(self) -> dict[str, Any]:
        """What another process needs to go on with the conversation, as plain JSON."""
        return self._conversation.state()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the session, unless it is to be kept, and the client if it is our own."""
        try:
            if self.session is not None and not self.keep_session:
                await self.session.close()
        finally:
            if self._own_client is not None:
                await self._own_client.close()

    async def add_file(self, path: str | Path, name: str | None = None) -> None:
        """Give the conversation one more file of the person's, now and in every later session."""
        path = Path(path)
        self._conversation.files[name or path.name] = path
        if self.session is not None:
            try:
                await self.session.upload(path, name or path.name)
            except (SessionGone, NotFound):
                return  # the session that replaces it gets the file

    async def run(self, arguments: Arguments, name: str = NAME) -> CallFinished:
        """Carry out one call of the model and return how it ended."""
        async with aclosing(self.call(name, arguments)) as events:
            async for event in events:
                last = event
        assert isinstance(last, CallFinished)
        return last

    async def call(self, name: str, arguments: Arguments) -> AsyncGenerator[ToolEvent]:
        """Carry out one call of the model. What the model did wrong is told to the model."""
        async with self._turn, aclosing(self._call(name, arguments)) as events:
            async for event in events:
                self.results.add(event)
                if self.on_event is not None:
                    self.on_event(event)
                yield event

    async def refresh_links(self) -> None:
        """Renew the links of the files made so far: they open for a day or as the service says."""
        await self._conversation.refresh_links(self._service)

    def linked(self, text: str) -> str:
        """The model's text with its `sandbox:` links made real ones."""
        return with_links(text, self._conversation.urls)

    def linked_pieces(self) -> LinkedText:
        """The same for a text that is streamed: feed it piece by piece."""
        return LinkedText(self._conversation.urls)

    @property
    def _service(self) -> SandboxClient:
        if self.client is not None:
            return self.client
        if self._own_client is None:
            self._own_client = SandboxClient()
        return self._own_client

    async def interrupt(self) -> None:
        """Stop the running code; variables are kept. Raises ClientError."""
        if self.session is not None:
            await self.session.interrupt()

    @property
    def session(self) -> Session | None:
        """The conversation's session; None before the first code, or once it is found to be over."""
        session_id = self._conversation.session_id
        return None if session_id is None else self._service.session(session_id)

    async def _call(self, name: str, arguments: Arguments) -> AsyncGenerator[ToolEvent]:
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
            session = self.session or await self._opened()
            begun = False
            try:
                sent = session.stream(code, self.timeout_s, interrupt_on_leave=True)
                async with aclosing(sent) as events:
                    async for event in events:
                        begun = True
                        async for told in self._told(event):
                            yield told
                return
            except ApiError as error:
                finished = self._failed(error, may_retry=not begun and not is_second_try)
                if finished is not None:
                    yield finished
                    return

    async def _opened(self) -> Session:
        """A new session with the conversation's files; none is left behind half filled."""
        session = await self._service.new_session(**self.options)
        try:
            filled = await self._conversation.fill(self._service, session)
        except BaseException:
            await session.close()
            raise
        self._conversation.begin_session(session, filled)
        return session

    async def _told(self, event: Event) -> AsyncIterator[ToolEvent]:
        """What of a service's event is passed on."""
        match event:
            case OutputChanged():
                yield OutputSeen(event)
            case ArtifactMade(artifact=artifact):
                self._conversation.remember(artifact)
                yield FileMade(artifact)
            case ExecutionCompleted(result=result):
                # In a thread: pictures are decoded and made smaller.
                shaped = await asyncio.to_thread(shape_result, result, self.limits)
                yield CallFinished(self._with_news(shaped), result)

    def _with_news(self, shaped: Shaped) -> Shaped:
        news, self._conversation.news = self._conversation.news, ""
        return Shaped(f"{news}\n{shaped.text}", shaped.images) if news else shaped

    def _failed(self, error: ApiError, *, may_retry: bool) -> CallFinished | None:
        """The end of the call, or None to try again in a new session. Raises our own failures."""
        if isinstance(error, InvalidRequest):
            return CallFinished(Shaped(f"Nothing was run: {error.message}"))
        if not _means_session_is_over(error):
            raise error
        self._conversation.end_session(error.code, error.message)
        if may_retry:
            return None
        return CallFinished(
            Shaped(
                "The code did not finish: the session is over, "
                f"{self._conversation.over}. The next call gets "
                "a new session: variables and imports are gone."
            )
        )


def parse_call(name: str, arguments: Arguments) -> str:
    """The code that the model wants to run. Raises MalformedCall."""
    if name != NAME:
        raise MalformedCall(f"There is no tool named {name!r}; the only one is {NAME}.")
    return parse_arguments(arguments)


def _means_session_is_over(error: ApiError) -> bool:
    """A session whose record is already forgotten answers 404, as if it had never been."""
    return isinstance(error, SessionGone | NotFound) or error.code == "sandbox_lost"
