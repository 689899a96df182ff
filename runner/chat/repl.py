"""The chat's own loop: read a line, answer it or obey it, save what was made."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path

from runner.chat.commands import CommandFailed, Desk, obey, said_by
from runner.chat.keyboard import Keyboard, Left
from runner.chat.screen import Screen
from runner.chat.talking import Conversation
from runner.events import CallFinished, Event, TextDelta
from runner.links import LinkedText
from runner.model import ModelFailed
from runner.results import Results
from sandbox_service.client import ClientError


class Chat:
    """One run of the chat. Files that the code makes are saved below `out`."""

    def __init__(self, talk: Conversation, screen: Screen, keyboard: Keyboard, out: Path) -> None:
        self._desk = Desk(talk, screen)
        self._screen = screen
        self._keyboard = keyboard
        self._out = out
        made = talk.tool.state()["made"]
        self._links = {name: self._link(name) for name in made if (out / name).is_file()}
        self.has_failed = False

    @property
    def talk(self) -> Conversation:
        """The conversation that goes on now."""
        return self._desk.talk

    async def run(self) -> None:
        """Talk until the person leaves."""
        while True:
            try:
                line = self._keyboard.line(self._screen.note)
                if line.startswith("/"):
                    await obey(self._desk, line)
                elif line:
                    await self._answer(line)
            except Left:
                return
            except (ModelFailed, ClientError, CommandFailed, OSError) as error:
                self.has_failed = True
                self._screen.complain(said_by(error))

    async def _answer(self, question: str) -> None:
        """Answer one question; Ctrl-C interrupts the answer."""
        with (
            self._keyboard.interrupting(self.talk.assistant.interrupt),
            self._screen.turn(),
        ):
            async with aclosing(self._linked(self.talk.ask(question))) as events:
                async for event in events:
                    self._screen.show(event)
                    if isinstance(event, CallFinished):
                        await self._save()

    async def _linked(self, events: AsyncGenerator[Event]) -> AsyncGenerator[Event]:
        """The events, with links to the saved files in the model's text."""
        links = LinkedText(self._links)
        async with aclosing(events):
            async for event in events:
                if isinstance(event, TextDelta):
                    yield TextDelta(links.feed(event.text))
                    continue
                if rest := links.end():
                    yield TextDelta(rest)
                yield event

    async def _save(self) -> None:
        """Save the files of the latest call, and pictures that the screen could not show."""
        results, self.talk.tool.results = self.talk.tool.results, Results()
        if self._screen.shows_pictures:
            results.images = [
                image for image in results.images if image.media_type.endswith("svg+xml")
            ]
        try:
            saved = await results.save(self._out)
        except (ClientError, OSError) as error:
            self._screen.complain(f"not saved: {said_by(error)}")
            return
        for name in results.artifacts:
            self._links[name] = self._link(name)
        self._screen.saved(saved)

    def _link(self, name: str) -> str:
        """What opens a saved file."""
        return (self._out / name).resolve().as_uri()
