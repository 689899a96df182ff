"""Coroutines for callers without an event loop: run on one of our own, in a thread of its own."""

import asyncio
import threading
from collections.abc import AsyncGenerator, Coroutine, Generator, Iterator
from concurrent import futures
from contextlib import AbstractAsyncContextManager, contextmanager
from typing import Any, Generic, TypeVar

T = TypeVar("T")

CANCEL_S = 10.0
"""How long a call that was interrupted may take to clean up."""


class Bridge:
    """Starts its thread with the first call, and ends it with `close`. Any thread may call."""

    def __init__(self) -> None:
        self._starting = threading.Lock()  # so that two first calls start one thread
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ended = asyncio.Event()
        self._is_closed = False
        self._calls: set[_Call[Any]] = set()

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        """What `work` returns or raises. Whatever ends the waiting, as Ctrl-C does, cancels it.

        Raises RuntimeError once the bridge is closed.
        """
        try:
            loop = self._running_loop()
        except RuntimeError:
            work.close()
            raise
        call = _Call(work, loop)
        try:
            self._calls.add(call)
            return call.result()
        except BaseException:
            call.cancel()  # also when Ctrl-C came before anybody waited
            raise
        finally:
            self._calls.discard(call)

    def iterate(self, source: AsyncGenerator[T]) -> Generator[T]:
        """The items of `source`; it is closed when the iteration is left."""
        try:
            while item := self.call(_next_of(source)):
                yield item[0]
        finally:
            self._finish(source)

    @contextmanager
    def entered(self, context: AbstractAsyncContextManager[T]) -> Iterator[T]:
        """The context, entered and left on the loop."""
        value = self.call(_entering(context))
        try:
            yield value
        except BaseException as error:
            if not self.call(_leaving(context, error)):
                raise
        else:
            self.call(_leaving(context, None))

    def close(self, last: Coroutine[Any, Any, None]) -> None:
        """Run `last`, cancel what still runs, and end the thread. Closing twice is fine."""
        if self._is_closed:
            last.close()
            return
        try:
            self.call(last)
        finally:
            self._end()

    def _end(self) -> None:
        with self._starting:
            self._is_closed = True
        if self._thread is not None and self._loop is not None:
            self._loop.call_soon_threadsafe(self._ended.set)
            self._thread.join()
        for call in list(self._calls):
            call.abandon()

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        with self._starting:
            if self._is_closed:
                raise RuntimeError("the client is closed")
            if self._loop is None:
                self._loop = self._start()
        if threading.current_thread() is self._thread:
            raise RuntimeError("a call from the client's own thread would wait for itself")
        return self._loop

    def _start(self) -> asyncio.AbstractEventLoop:
        loops: futures.Future[asyncio.AbstractEventLoop] = futures.Future()

        async def live() -> None:
            loops.set_result(asyncio.get_running_loop())
            await self._ended.wait()

        # A daemon: a client that nobody closed must not keep the interpreter from ending.
        self._thread = threading.Thread(
            target=lambda: asyncio.run(live()), name="sandbox-client", daemon=True
        )
        self._thread.start()
        return loops.result()

    def _finish(self, source: AsyncGenerator[Any]) -> None:
        """Close `source`. The garbage collector may ask for it late, or in our own thread."""
        if self._is_closed or self._loop is None:
            return  # its loop has closed it, or it never began
        if threading.current_thread() is self._thread:
            asyncio.ensure_future(_closing(source), loop=self._loop)  # noqa: RUF006 - nobody waits
        else:
            self.call(_closing(source))


class _Call(Generic[T]):
    """One coroutine on its way, and what comes of it."""

    def __init__(self, work: Coroutine[Any, Any, T], loop: asyncio.AbstractEventLoop) -> None:
        self._work = work
        self._loop = loop
        self._task: asyncio.Task[T] | None = None
        self._outcome: futures.Future[T] = futures.Future()

    def result(self) -> T:
        """Begin, and wait for what comes of it."""
        self._loop.call_soon_threadsafe(self._begin)
        return self._outcome.result()

    def cancel(self) -> None:
        """Return when it has ended, however it was left."""
        if not self._outcome.done():
            self._loop.call_soon_threadsafe(self._cancel)
            futures.wait([self._outcome], CANCEL_S)

    def abandon(self) -> None:
        """It will not run, or no more: nothing comes."""
        if not self._outcome.done():
            self._work.close()
            self._outcome.set_exception(_closed())

    def _begin(self) -> None:
        self._task = self._loop.create_task(self._work)
        self._task.add_done_callback(self._end)

    def _cancel(self) -> None:
        if self._task is None:  # never begun: the loop takes its calls in order
            self.abandon()
        else:
            self._task.cancel()

    def _end(self, task: "asyncio.Task[T]") -> None:
        if task.cancelled():
            self._outcome.set_exception(_closed())
        elif (error := task.exception()) is not None:
            self._outcome.set_exception(error)
        else:
            self._outcome.set_result(task.result())


def _closed() -> RuntimeError:
    return RuntimeError("the client was closed during the call")


async def _next_of(source: AsyncGenerator[T]) -> tuple[T] | None:
    """The next item, alone in a tuple; None at the end."""
    async for item in source:
        return (item,)
    return None


async def _closing(source: AsyncGenerator[Any]) -> None:
    await source.aclose()


async def _entering(context: AbstractAsyncContextManager[T]) -> T:
    return await context.__aenter__()


async def _leaving(context: AbstractAsyncContextManager[Any], error: BaseException | None) -> bool:
    if error is None:
        return bool(await context.__aexit__(None, None, None))
    return bool(await context.__aexit__(type(error), error, error.__traceback__))
