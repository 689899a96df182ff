"""When more is asked than can be started: said at once, filled quickly, and removed later."""

import asyncio

import pytest

from sandbox_service.domain.errors import Overloaded
from sandbox_service.domain.values import SandboxRef, SandboxSpec, Template
from sandbox_service.sessions.pool import is_rush
from sandbox_service.sessions.provisioning import Provisioner, StartTerms
from sandbox_service.sessions.removals import MOST_WAITING, Removals
from tests.support.fakes import InstantBackend, NeverReady

TEMPLATE = Template()


def spec(sandbox_id: str, tenant: str = "one", *, is_background: bool = False) -> SandboxSpec:
    return SandboxSpec(
        sandbox_id=sandbox_id,
        template=TEMPLATE,
        limits=TEMPLATE.limits,
        labels={} if is_background else {"tenant": tenant},
        is_background=is_background,
    )


async def ignore(ref: SandboxRef) -> None:
    """A checkpoint that nobody needs."""


async def until_running(backend: InstantBackend, count: int) -> None:
    async with asyncio.timeout(30):
        while len(backend.running) < count:
            await asyncio.sleep(0)


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_an_open_that_cannot_be_served_in_time_is_refused_at_once() -> None:
    """With starts of 1.5 s, two at a time and 2 s to wait, two may wait; another tenant still may."""
    provisioner = Provisioner(NeverReady(), StartTerms(timeout_s=60, concurrency=2, wait_s=2))
    starts = [asyncio.create_task(provisioner.start(spec(f"s{n}"), ignore)) for n in range(4)]
    await settle()
    with pytest.raises(Overloaded) as refused:
        await provisioner.start(spec("s4"), ignore)
    assert (refused.value.code, refused.value.retry_after_s) == ("overloaded", 1)
    assert "SANDBOX_OPEN_WAIT_S" in refused.value.message
    other = asyncio.create_task(provisioner.start(spec("s5", "two"), ignore))
    await settle()
    assert not other.done()
    await cancelled(*starts, other)


async def test_a_wait_for_a_turn_has_an_end() -> None:
    """The estimate can be wrong: who waited for all of the time is told the same."""
    backend = NeverReady()
    provisioner = Provisioner(backend, StartTerms(timeout_s=60, concurrency=1, wait_s=1.5))
    first = asyncio.create_task(provisioner.start(spec("s0"), ignore))
    await until_running(backend, 1)
    with pytest.raises(Overloaded):
        await provisioner.start(spec("s1"), ignore)
    assert list(backend.running) == ["s0"]
    await cancelled(first)


async def test_the_pool_waits_while_a_session_does() -> None:
    backend = WaitsForWord()
    provisioner = Provisioner(backend, StartTerms(timeout_s=60, concurrency=1, wait_s=60))
    starts = [asyncio.create_task(provisioner.start(spec("s0"), ignore))]
    await until_running(backend, 1)
    for one in (spec("pool", is_background=True), spec("s1")):
        starts.append(asyncio.create_task(provisioner.start(one, ignore)))
        await settle()
    backend.word.set()
    await asyncio.gather(*starts)
    assert list(backend.running) == ["s0", "s1", "pool"]


@pytest.mark.parametrize(
    ("ready", "newest_claims", "answer"),
    [(2, 0, False), (1, 1, False), (0, 1, True), (0, 0, False), (4, 5, True), (5, 5, False)],
)
def test_it_is_a_rush_when_what_is_ready_would_not_last(ready, newest_claims, answer) -> None:
    assert is_rush(ready, newest_claims) is answer


async def test_ended_sandboxes_are_removed_when_nothing_starts() -> None:
    backend = await with_running(3)
    has_time = False
    removals = Removals(backend, lambda: has_time, step_s=0.01)
    await removals.late(SandboxRef(sandbox_id="box_0"))
    await settle()
    assert len(backend.running) == 3
    has_time = True
    async with asyncio.timeout(30):
        while len(backend.running) == 3:
            await asyncio.sleep(0.01)
    await removals.late(SandboxRef(sandbox_id="box_1"))
    assert list(backend.running) == ["box_2"]


async def test_no_more_wait_to_be_removed_than_a_bound_and_none_longer_than_the_process() -> None:
    backend = await with_running(MOST_WAITING + 1)
    removals = Removals(backend, lambda: False)
    for name in list(backend.running):
        await removals.late(SandboxRef(sandbox_id=name))
    assert len(backend.running) == MOST_WAITING
    await removals.aclose()
    assert backend.running == {}


class StopsSlowly(InstantBackend):
    """Its first removal takes until it is begun anew."""

    def __init__(self) -> None:
        super().__init__()
        self.begun: list[str] = []

    async def stop(self, ref: SandboxRef) -> None:
        self.begun.append(ref.sandbox_id)
        if len(self.begun) == 1:
            await asyncio.Event().wait()
        await super().stop(ref)


async def test_a_stop_of_the_process_in_the_middle_of_a_removal_leaves_nothing() -> None:
    backend, has_time = StopsSlowly(), False
    backend.running["box_0"] = None  # type: ignore[assignment]
    removals = Removals(backend, lambda: has_time, step_s=0.01)
    await removals.late(SandboxRef(sandbox_id="box_0"))
    has_time = True
    async with asyncio.timeout(30):
        while not backend.begun:
            await asyncio.sleep(0.01)
    await removals.aclose()
    assert (backend.running, backend.begun) == ({}, ["box_0", "box_0"])


class WaitsForWord(InstantBackend):
    """Makes something, and gets ready when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.word = asyncio.Event()

    async def start(self, spec):  # type: ignore[no-untyped-def]
        self.running[spec.sandbox_id] = spec
        yield SandboxRef(sandbox_id=spec.sandbox_id)
        await self.word.wait()
        yield SandboxRef(sandbox_id=spec.sandbox_id, engine_id="e")


async def with_running(count: int) -> InstantBackend:
    backend = InstantBackend()
    for number in range(count):
        backend.running[f"box_{number}"] = spec(f"box_{number}")
    return backend


async def cancelled(*tasks: asyncio.Task[object]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
