"""Chooses the backend that the settings name."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sandbox_service.backends.docker.backend import DockerBackend, DockerSettings
from sandbox_service.backends.unsafe_local import UnsafeLocalBackend
from sandbox_service.settings import Settings


@asynccontextmanager
async def open_backend(settings: Settings) -> AsyncIterator[DockerBackend | UnsafeLocalBackend]:
    """The backend that the settings name. Raises EngineUnavailable."""
    if settings.backend == "unsafe_local":
        root = settings.runtime_dir / settings.instance
        async with UnsafeLocalBackend.open(root, keep=True) as local:
            yield local
        return
    docker = DockerSettings(
        instance=settings.instance,
        runtime_dir=settings.runtime_dir,
        base_url=settings.docker_url,
        start_timeout_s=settings.start_timeout_s,
    )
    async with DockerBackend.open(docker) as backend:
        yield backend
