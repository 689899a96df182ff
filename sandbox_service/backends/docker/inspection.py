"""What the engine says of itself: versions, runtimes, isolation, storage, the image."""

from dataclasses import dataclass
from typing import Any

import docker
from docker.errors import APIError, ImageNotFound

from sandbox_service.backends.docker.engine import open_client

TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class EngineFacts:
    """`image_id` is None when the engine does not have the image."""

    engine_version: str
    runc_version: str
    containerd_version: str
    runtimes: frozenset[str]
    cgroup_version: str
    storage_driver: str
    security_options: tuple[str, ...]
    data_root: str
    kernel_version: str
    image_id: str | None
    image_labels: dict[str, str]


def engine_facts(base_url: str | None, image: str) -> EngineFacts:
    """Ask the engine. Blocks. Raises EngineUnavailable."""
    client = open_client(base_url, TIMEOUT_S)
    try:
        version, info = client.version(), client.info()
        found = _image(client, image)
    finally:
        client.close()
    parts = {part["Name"]: part["Version"] for part in version.get("Components", [])}
    return EngineFacts(
        engine_version=str(version["Version"]),
        runc_version=str(parts.get("runc", "")),
        containerd_version=str(parts.get("containerd", "")),
        runtimes=frozenset(info.get("Runtimes") or {}),
        cgroup_version=str(info.get("CgroupVersion", "1")),
        storage_driver=str(info.get("Driver", "")),
        security_options=tuple(info.get("SecurityOptions") or ()),
        data_root=str(info.get("DockerRootDir", "")),
        kernel_version=str(info.get("KernelVersion", "")),
        image_id=found.get("Id"),
        image_labels=found.get("Config", {}).get("Labels") or {},
    )


def _image(client: docker.APIClient, image: str) -> dict[str, Any]:
    try:
        found: dict[str, Any] = client.inspect_image(image)  # type: ignore[no-untyped-call]
    except (ImageNotFound, APIError):
        return {}
    return found
