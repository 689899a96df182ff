"""Sandboxes as Docker containers; the only room that knows the docker package."""

from sandbox_service.backends.docker.backend import DockerBackend, DockerSettings

__all__ = ["DockerBackend", "DockerSettings"]
