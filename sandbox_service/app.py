"""The service, put together: the rooms are opened in order here, and closed last-in first-out."""

import asyncio
import contextlib
import logging
import secrets
import signal
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import uvicorn

from sandbox_service.api.app import create_api
from sandbox_service.api.services import Services
from sandbox_service.backends.opening import open_backend
from sandbox_service.domain.clock import SystemClock
from sandbox_service.domain.ports import SandboxBackend
from sandbox_service.domain.values import Template
from sandbox_service.files.artifacts import ArtifactBounds, Artifacts
from sandbox_service.files.blobs import DirectoryBlobStore
from sandbox_service.files.catalog import DirectoryArtifactCatalog
from sandbox_service.files.link_marks import DirectoryLinkMarks
from sandbox_service.files.links import Links, load_or_make_key
from sandbox_service.files.strays import remove_strays
from sandbox_service.posture import Posture
from sandbox_service.sessions.ending import SessionEnder
from sandbox_service.sessions.executions import ExecutionBounds, ExecutionService
from sandbox_service.sessions.history import ExecutionHistory
from sandbox_service.sessions.live import LiveSession
from sandbox_service.sessions.metrics import Metrics
from sandbox_service.sessions.oversight import Oversight
from sandbox_service.sessions.pool import PoolSize, WarmPool
from sandbox_service.sessions.provisioning import Provisioner
from sandbox_service.sessions.records import SessionRecords
from sandbox_service.sessions.revival import Reviver
from sandbox_service.sessions.run import RunTools
from sandbox_service.sessions.service import SessionService, SessionTerms
from sandbox_service.sessions.source import SandboxSource
from sandbox_service.sessions.sweeper import Sweeper, SweepTimes
from sandbox_service.settings import Settings, require_loopback
from sandbox_service.store.memory import MemorySessionStore
from sandbox_service.tenants.opening import Tenancy, open_keyring

REAP_EVERY_S = 15.0


async def serve(settings: Settings) -> None:
    """Serve HTTP until SIGINT or SIGTERM; then end every session and remove what was made."""
    settings = _with_a_key(settings)
    async with open_services(settings) as services:
        server = _Server(_server_config(settings, services))
        await server.serve()
        if not server.started:
            raise SystemExit(1)


class _Server(uvicorn.Server):
    """Stops serving on SIGINT or SIGTERM and leaves the process alive, so that the rooms are closed after it."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self.handle_exit, number, None)
        # Not taken off again: a second signal must not cut the closing of the rooms short.
        yield


@asynccontextmanager
async def open_services(settings: Settings) -> AsyncIterator[Services]:
    """Everything that the API stands on, running while the context is open.

    Raises EngineUnavailable when the backend's engine does not answer.
    """
    async with AsyncExitStack() as stack:
        backend = await stack.enter_async_context(open_backend(settings))
        rooms = _Rooms(settings, backend)
        stack.enter_context(rooms.tenancy.audit.running())
        await rooms.load_stored_bytes()
        await rooms.sweeper.reap_all_strays()
        await remove_strays(settings.data_dir / "artifacts")
        stack.push_async_callback(rooms.drain)
        await stack.enter_async_context(_running(rooms.sweeper.run()))
        for pool in rooms.pools.values():
            await stack.enter_async_context(_running(pool.run()))
        yield rooms.services()


class _Rooms:
    """The objects of one service process, each built once from the settings."""

    def __init__(self, settings: Settings, backend: SandboxBackend) -> None:
        self._settings = settings
        self._backend = backend
        self._clock = SystemClock()
        self._metrics = Metrics()
        self.tenancy = Tenancy.of(settings, self._clock, self._metrics.audit_dropped.inc)
        self._oversight = self._make_oversight()
        self._live: dict[str, LiveSession] = {}
        self._history = ExecutionHistory(settings.history_length)
        self._records = SessionRecords(MemorySessionStore(), self._clock)
        self._artifacts = self._make_artifacts()
        self._ender = SessionEnder(
            self._records, backend, self._live, self._metrics, self._oversight
        )
        self._provisioner = Provisioner(
            backend, settings.start_timeout_s, settings.start_concurrency
        )
        self.pools = self._make_pools()
        self._source = SandboxSource(
            self._records, self._provisioner, self.pools, settings.all_templates
        )
        self._executions = self._make_executions()
        self._sessions = self._make_sessions()
        self.sweeper = self._make_sweeper()

    def _make_artifacts(self) -> Artifacts:
        root = self._settings.data_dir / "artifacts"
        bounds = ArtifactBounds(
            retention_s=self._settings.artifact_retention_s,
            max_bytes=self._settings.max_artifact_bytes,
            max_files=self._settings.max_artifacts,
        )
        blobs, catalog = DirectoryBlobStore(root), DirectoryArtifactCatalog(root)
        return Artifacts(blobs, catalog, self._clock, bounds, self.tenancy.quotas)

    def _make_oversight(self) -> Oversight:
        recorded = frozenset(self._settings.audit_record_tenants)
        return Oversight(self._clock, self.tenancy.quotas, self.tenancy.audit, recorded)

    async def load_stored_bytes(self) -> None:
        self.tenancy.quotas.load_stored(await self._artifacts.stored_bytes())

    def _make_executions(self) -> ExecutionService:
        tools = RunTools(
            self._records,
            self._backend,
            self._artifacts,
            self._clock,
            self._settings.interrupt_grace_s,
        )
        bounds = ExecutionBounds(self._settings.max_code_bytes, self._settings.queue_length)
        return ExecutionService(
            self._live,
            tools,
            self._ender,
            Reviver(self._records, self._backend, self._source, self._ender),
            self._history,
            bounds,
            self._metrics,
            self._oversight,
        )

    def _make_pools(self) -> dict[str, WarmPool]:
        floor = self._settings.pool_size
        size = PoolSize(floor, max(floor, self._settings.pool_max))
        templates = self._settings.all_templates.values() if floor else ()
        return {template.name: self._make_pool(template, size) for template in templates}

    def _make_pool(self, template: Template, size: PoolSize) -> WarmPool:
        return WarmPool(
            template, size, self._provisioner, self._backend, self._clock, self._metrics
        )

    def _make_sessions(self) -> SessionService:
        settings = self._settings
        terms = SessionTerms(
            idle_ttl_s=settings.idle_ttl_s,
            idle_ttl_min_s=settings.idle_ttl_min_s,
            idle_ttl_max_s=settings.idle_ttl_max_s,
            max_age_s=settings.max_age_s,
            max_age_max_s=settings.max_age_max_s,
            max_sessions=settings.max_sessions,
        )
        return SessionService(
            self._records,
            self._live,
            self._source,
            self._ender,
            self._executions,
            settings.all_templates,
            terms,
            self._metrics,
            self._oversight,
        )

    def _make_sweeper(self) -> Sweeper:
        times = SweepTimes(
            self._settings.sweep_interval_s, REAP_EVERY_S, self._settings.record_retention_s
        )
        return Sweeper(
            self._records,
            self._live,
            self._ender,
            self._history,
            self._backend,
            self._artifacts,
            list(self.pools.values()),
            times,
        )

    async def drain(self) -> None:
        await self._sessions.aclose()
        for pool in self.pools.values():
            await pool.drain()

    def services(self) -> Services:
        posture = Posture(self._settings, self._backend, self._clock)
        key = load_or_make_key(self._settings.data_dir / "link.key")
        marks = DirectoryLinkMarks(self._settings.data_dir / "artifacts")
        return Services(
            settings=self._settings,
            keys=self.tenancy.keys,
            sessions=self._sessions,
            executions=self._executions,
            artifacts=self._artifacts,
            links=Links(key, self._clock, marks),
            registry=self._metrics.registry,
            posture=posture.report,
            readiness=posture.reasons_not_ready,
            quotas=self.tenancy.quotas,
            audit=self.tenancy.audit,
        )


@asynccontextmanager
async def _running(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Runs `work` beside the block and cancels it at the end."""
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def _with_a_key(settings: Settings) -> Settings:
    """The settings, with a fresh key when there is none at all. Raises SettingsError off loopback."""
    if open_keyring(settings).has_valid_keys():
        return settings
    require_loopback(settings)
    key = secrets.token_urlsafe(24)
    print(f"There are no API keys: this key is valid until the service stops:\n\n    {key}\n")
    return settings.model_copy(update={"api_keys": (("default", key),)})


def _server_config(settings: Settings, services: Services) -> uvicorn.Config:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    return uvicorn.Config(
        create_api(services),
        host=settings.host,
        port=settings.port,
        access_log=False,
        lifespan="off",
        server_header=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=10,
    )
