"""The service, put together: the rooms are opened in order here, and closed last-in first-out."""

import asyncio
import contextlib
import logging
import secrets
import signal
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

import uvicorn

from sandbox_service.api.app import create_api
from sandbox_service.api.connections import Connections, connection_bounds
from sandbox_service.api.drain import Drain
from sandbox_service.api.http_protocol import bounded_protocol
from sandbox_service.api.services import Services
from sandbox_service.api.streams import Pace
from sandbox_service.backends.docker.backend import DockerBackend
from sandbox_service.backends.opening import open_backend
from sandbox_service.backends.unsafe_local import UnsafeLocalBackend
from sandbox_service.domain.beside import running_beside
from sandbox_service.domain.clock import SystemClock
from sandbox_service.domain.errors import ServiceError, StoreUnavailable
from sandbox_service.domain.values import Template
from sandbox_service.files.artifacts import ArtifactBounds, Artifacts
from sandbox_service.files.blobs import DirectoryBlobStore
from sandbox_service.files.catalog import SqliteArtifactCatalog
from sandbox_service.files.link_marks import DirectoryLinkMarks
from sandbox_service.files.links import Links, load_or_make_key
from sandbox_service.files.strays import remove_strays
from sandbox_service.posture import Posture
from sandbox_service.private_files import make_private_directory, take_private_directory
from sandbox_service.sessions.adoption import Adoption
from sandbox_service.sessions.ending import SessionEnder
from sandbox_service.sessions.executions import ExecutionBounds, ExecutionService
from sandbox_service.sessions.finishing import Finisher
from sandbox_service.sessions.leader import Leader, beating
from sandbox_service.sessions.lines import SandboxLines
from sandbox_service.sessions.metrics import Metrics
from sandbox_service.sessions.oversight import Oversight
from sandbox_service.sessions.pool import PoolSize, WarmPool
from sandbox_service.sessions.provisioning import Provisioner, StartTerms
from sandbox_service.sessions.reaper import Reaper
from sandbox_service.sessions.records import SessionRecords
from sandbox_service.sessions.removals import Removals
from sandbox_service.sessions.revival import Reviver
from sandbox_service.sessions.run import RunTools
from sandbox_service.sessions.service import SessionService, SessionTerms
from sandbox_service.sessions.source import SandboxSource
from sandbox_service.sessions.sweeper import Sweeper, SweepTimes
from sandbox_service.sessions.workers import Workers
from sandbox_service.settings import Settings, SettingsError, require_loopback
from sandbox_service.starting import when_the_store_is_there
from sandbox_service.state import State, open_state
from sandbox_service.tenants.opening import Tenancy, open_keyring

logger = logging.getLogger(__name__)

DRAIN_STEP_S = 0.05


async def serve(
    settings: Settings, listener: socket.socket, *, is_one_of_several: bool = False
) -> None:
    """Serve HTTP on `listener`, alone or with other processes, until SIGINT or SIGTERM.

    Then: not ready first, running cells get their time, streams end with a word on where to resume. The
    sandboxes stay for the next process, or go, as `on_stop` says.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    settings = with_a_key(settings)
    async with open_rooms(settings) as rooms:
        config = _server_config(settings, rooms.services)
        server = _Server(config, rooms, is_one_of_several=is_one_of_several)
        await server.serve([listener])
        if not server.started:
            raise SystemExit(1)


class _Server(uvicorn.Server):
    """Stops in steps on SIGINT or SIGTERM and leaves the process alive, so that the rooms are closed after it."""

    def __init__(self, config: uvicorn.Config, rooms: "Rooms", *, is_one_of_several: bool) -> None:
        super().__init__(config)
        self._is_one_of_several = is_one_of_several
        self._rooms = rooms
        self._stopping: asyncio.Task[None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        print("ready", flush=True)  # for who started this process

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._on_signal)
        # Not taken off again: a second signal must not cut the closing of the rooms short.
        yield

    def _on_signal(self) -> None:
        """The first one begins the drain, a second one ends it."""
        if self._stopping is None:
            self._stopping = asyncio.create_task(self._drain())
        else:
            self._rooms.drain.end()
            self.should_exit = True

    async def _drain(self) -> None:
        try:
            await self._rooms.begin_drain()
            if self._is_one_of_several:  # the others accept on
                for server in self.servers:
                    server.close()
            await self._rooms.drain_requests()
        finally:
            self.should_exit = True


@asynccontextmanager
async def open_services(settings: Settings) -> AsyncIterator[Services]:
    """Everything that the API stands on, running while the context is open.

    Raises EngineUnavailable when the backend's engine does not answer, StoreUnavailable.
    """
    async with open_rooms(settings) as rooms:
        yield rooms.services


@asynccontextmanager
async def open_rooms(settings: Settings) -> AsyncIterator["Rooms"]:
    """The rooms of one service process, running while the context is open."""
    async with AsyncExitStack() as stack:
        await asyncio.to_thread(_take_directories, settings)
        state = await stack.enter_async_context(open_state(settings))
        # First of all: what a lost replica left can be taken over a lease's time after the first beat.
        await stack.enter_async_context(beating(state.stores.replicas, settings.lease_ttl_s))
        backend = await stack.enter_async_context(open_backend(settings))
        rooms = Rooms(settings, backend, state)
        stack.enter_context(rooms.tenancy.audit.running())
        await stack.enter_async_context(rooms.tenancy.quotas.running())
        stack.callback(rooms.catalog.close)
        for step in (rooms.load_stored_bytes, rooms.sweeper.begin):
            await when_the_store_is_there(step, settings.redis_url, settings.start_timeout_s)
        stack.push_async_callback(rooms.aclose)
        await stack.enter_async_context(running_beside(rooms.sweeper.run()))
        await stack.enter_async_context(running_beside(rooms.remove_strays()))
        for pool in rooms.pools.values():
            await stack.enter_async_context(running_beside(pool.run()))
        yield rooms


def _take_directories(settings: Settings) -> None:
    """What is kept is for this user only, whatever the store. Raises SettingsError."""
    try:
        make_private_directory(settings.data_dir)
        take_private_directory(settings.data_dir / "artifacts")
    except OSError as error:
        reason = error.strerror or str(error)
        raise SettingsError(f"SANDBOX_DATA_DIR: {settings.data_dir}: {reason}") from error


class Rooms:
    """The objects of one service process, each built once from the settings."""

    def __init__(
        self, settings: Settings, backend: DockerBackend | UnsafeLocalBackend, state: State
    ) -> None:
        self._settings = settings
        self._backend = backend
        self._clock = SystemClock()
        self._metrics = Metrics()
        self.drain = Drain()
        self._stores = state.stores
        self.tenancy = Tenancy.of(
            settings, self._clock, self._metrics.audit_dropped.inc, state.quotas_of
        )
        self._oversight = self._make_oversight()
        self._records = SessionRecords(self._stores.sessions, self._clock)
        self._lines = SandboxLines(backend)
        self._adoption = Adoption(self._stores.sessions, backend, self._clock)
        self._leader = Leader(self._stores.replicas)
        self._artifact_root = settings.data_dir / "artifacts"
        self.catalog = SqliteArtifactCatalog(self._artifact_root)
        self._artifacts = self._make_artifacts()
        self._finisher = Finisher(self._stores.journals, self._metrics, self._oversight)
        self._provisioner = self._make_provisioner()
        self._removals = Removals(backend, lambda: self._provisioner.is_idle)
        self._ender = self._make_ender()
        self.pools = self._make_pools()
        self._source = SandboxSource(
            self._records, self._provisioner, backend, self.pools, settings.all_templates
        )
        self._workers = self._make_workers()
        self._sessions = self._make_sessions()
        self.sweeper = self._make_sweeper()
        self.services = self._make_services()

    async def remove_strays(self) -> None:
        """Beside serving, because it looks at every file; what prevents it is told."""
        try:
            removed = await remove_strays(self._artifact_root, self.catalog)
        except ServiceError as error:
            logger.warning("strays_not_removed reason=%s", error.message)
        except Exception:
            logger.exception("strays_not_removed")
        else:
            logger.info("strays_removed count=%d", removed)

    def _make_artifacts(self) -> Artifacts:
        bounds = ArtifactBounds(
            retention_s=self._settings.artifact_retention_s,
            max_bytes=self._settings.max_artifact_bytes,
            max_files=self._settings.max_artifacts,
            max_session_files=self._settings.max_session_artifacts,
        )
        blobs = DirectoryBlobStore(self._artifact_root)
        return Artifacts(blobs, self.catalog, self._clock, bounds, self.tenancy.quotas)

    def _make_oversight(self) -> Oversight:
        recorded = frozenset(self._settings.audit_record_tenants)
        return Oversight(
            self._clock, self.tenancy.quotas, self.tenancy.audit, recorded, self._backend
        )

    async def load_stored_bytes(self) -> None:
        await self.tenancy.quotas.load_stored(self._artifacts.stored_bytes)

    def _make_provisioner(self) -> Provisioner:
        settings = self._settings
        terms = StartTerms(
            settings.start_timeout_s, settings.start_concurrency, settings.open_wait_s
        )
        return Provisioner(self._backend, terms)

    def _make_ender(self) -> SessionEnder:
        return SessionEnder(
            self._records,
            self._stores.work,
            self._removals,
            self._lines,
            self._finisher,
            self._metrics,
            self._oversight,
        )

    def _make_workers(self) -> Workers:
        tools = RunTools(
            self._stores,
            self._records,
            self._backend,
            self._lines,
            self._artifacts,
            self._clock,
            self._settings.interrupt_grace_s,
            self._oversight,
            self._settings.return_s,
        )
        reviver = Reviver(
            self._records,
            self._backend,
            self._lines,
            self._source,
            self._ender,
            self._adoption,
            self._oversight,
        )
        return Workers(tools, reviver, self._ender, self._finisher, self._metrics)

    def _make_executions(self) -> ExecutionService:
        bounds = ExecutionBounds(
            self._settings.max_code_bytes, self._settings.queue_length, self._settings.return_s
        )
        return ExecutionService(
            self._stores, self._records, self._lines, self._workers, bounds, self._oversight
        )

    def _make_pools(self) -> dict[str, WarmPool]:
        floor = self._settings.pool_size
        size = PoolSize(floor, max(floor, self._settings.pool_max))
        templates = self._settings.all_templates.values() if floor else ()
        return {template.name: self._make_pool(template, size) for template in templates}

    def _make_pool(self, template: Template, size: PoolSize) -> WarmPool:
        return WarmPool(
            template,
            size,
            self._stores.pool,
            self._leader,
            self._provisioner,
            self._backend,
            self._backend,
            self._clock,
            self._metrics,
        )

    def _make_sessions(self) -> SessionService:
        settings = self._settings
        terms = SessionTerms(
            idle_ttl_s=settings.idle_ttl_s,
            idle_ttl_min_s=settings.idle_ttl_min_s,
            idle_ttl_max_s=settings.idle_ttl_max_s,
            max_age_s=settings.max_age_s,
            max_age_max_s=settings.max_age_max_s,
        )
        return SessionService(
            self._stores,
            self._records,
            self._lines,
            self._source,
            self._ender,
            self._workers,
            self._adoption,
            settings.all_templates,
            terms,
            self._metrics,
            self._oversight,
        )

    def _make_sweeper(self) -> Sweeper:
        settings = self._settings
        times = SweepTimes(
            settings.sweep_interval_s,
            settings.reap_interval_s,
            settings.record_retention_s,
        )
        return Sweeper(
            self._stores,
            self._records,
            self._lines,
            self._workers,
            self._ender,
            self._make_reaper(),
            times,
        )

    def _make_reaper(self) -> Reaper:
        return Reaper(
            self._stores,
            self._records,
            self._leader,
            self._backend,
            self._ender,
            self._adoption,
            list(self.pools.values()),
            self._artifacts,
            self.tenancy.quotas,
            self._metrics,
            self._oversight,
        )

    async def begin_drain(self) -> None:
        """Not ready any more, and after a time in which balancers notice, no new work."""
        logger.info("drain_begun replica=%s", self._stores.replicas.id)
        self.drain.begin()
        await self._clock.sleep(self._settings.drain_notice_s)
        self._workers.close()

    async def drain_requests(self) -> None:
        """A time for what runs; then callers are told to come back."""
        last = self._clock.monotonic() + self._settings.drain_s
        while self._clock.monotonic() < last and self._is_busy:
            await self._clock.sleep(DRAIN_STEP_S)
        await self._sessions.aclose()
        logger.info(
            "drain_ended is_busy=%s has_waiting=%s", self._workers.is_busy, self.drain.has_waiting
        )
        self.drain.end()

    @property
    def _is_busy(self) -> bool:
        return self._workers.is_busy or self._sessions.is_opening or self.drain.has_waiting

    async def aclose(self) -> None:
        """Stop what this process does. The sandboxes stay for others, unless settings say otherwise."""
        await self._sessions.aclose()
        await self._workers.aclose()
        try:
            await self._leader.resign()
            await self._stores.replicas.leave()
            if self._settings.on_stop == "remove" and await self._is_last():
                await self._sessions.end_all()
                for pool in self.pools.values():
                    await pool.drain()
        except StoreUnavailable as error:
            logger.warning("store_away_at_stop reason=%s", error.message)
        await self._removals.aclose()
        await self._provisioner.aclose()
        for pool in self.pools.values():
            await pool.aclose()
        await self._lines.aclose()

    async def _reasons_not_ready(self, posture: Posture) -> list[str]:
        try:
            await self._stores.replicas.alive()
        except StoreUnavailable as error:
            return [error.message]
        return await posture.reasons_not_ready()

    async def _is_last(self) -> bool:
        return await self._stores.replicas.alive() <= {self._stores.replicas.id}

    def _make_services(self) -> Services:
        settings = self._settings
        posture = Posture(settings, self._backend, self._clock)
        key = load_or_make_key(settings.data_dir / "link.key")
        marks = DirectoryLinkMarks(self._artifact_root)
        pace = Pace(
            settings.keepalive_s,
            settings.stall_timeout_s,
            self.drain,
            self._metrics.readers_dropped.inc,
        )
        return Services(
            settings=settings,
            keys=self.tenancy.keys,
            sessions=self._sessions,
            executions=self._make_executions(),
            artifacts=self._artifacts,
            links=Links(key, self._clock, marks),
            registry=self._metrics.registry,
            posture=posture.report,
            readiness=partial(self._reasons_not_ready, posture),
            once=self._stores.once,
            pace=pace,
            quotas=self.tenancy.quotas,
            audit=self.tenancy.audit,
        )


def with_a_key(settings: Settings) -> Settings:
    """The settings, with a fresh key when there is none at all. Raises SettingsError off loopback."""
    if open_keyring(settings).has_valid_keys():
        return settings
    require_loopback(settings)
    key = secrets.token_urlsafe(24)
    print(f"There are no API keys: this key is valid until the service stops:\n\n    {key}\n")
    return settings.model_copy(update={"api_keys": (("default", key),)})


def _server_config(settings: Settings, services: Services) -> uvicorn.Config:
    return uvicorn.Config(
        create_api(services),
        host=settings.host,
        port=settings.port,
        access_log=False,
        lifespan="off",
        server_header=False,
        http=bounded_protocol(Connections(connection_bounds(settings), services.registry)),
        ws="none",
        timeout_keep_alive=75,
        timeout_graceful_shutdown=10,
    )
