"""What the kernel has counted of a container in its control group: memory kills and CPU time.

Its count is true at once and takes no call. Where the host's groups are not to be seen, because the engine is
elsewhere or this process has a file system of its own, every answer is None.
"""

from pathlib import Path

from sandbox_service.backends.docker.events import EngineEvents

ROOT = Path("/sys/fs/cgroup")


class ControlGroups:
    """The groups under `root`, of either version, as the engine names them with either driver."""

    def __init__(self, root: Path = ROOT) -> None:
        self._root = root
        self._is_unified = (root / "cgroup.controllers").exists()

    def oom_kills(self, container: str) -> int | None:
        """Processes that were killed for want of memory since the container's start."""
        name = "memory.events" if self._is_unified else "memory.oom_control"
        return _field(self._read("memory", container, name), "oom_kill")

    def cpu_s(self, container: str) -> float | None:
        """CPU seconds of all its processes, ended ones included, since the container's start."""
        if self._is_unified:
            used_us = _field(self._read("cpu", container, "cpu.stat"), "usage_usec")
            return None if used_us is None else used_us / 1e6
        used_ns = self._read("cpuacct", container, "cpuacct.usage")
        return None if used_ns is None else int(used_ns) / 1e9

    def _read(self, controller: str, container: str, name: str) -> str | None:
        if not container:  # its group would be that of all of them
            return None
        tree = self._root if self._is_unified else self._root / controller
        for group in (f"docker/{container}", f"system.slice/docker-{container}.scope"):
            try:
                return (tree / group / name).read_text(encoding="ascii")
            except OSError:
                continue
        return None


def _field(text: str | None, name: str) -> int | None:
    for line in (text or "").splitlines():
        key, _, value = line.partition(" ")
        if key == name:
            return int(value)
    return None


class MemoryKills:
    """Memory kills of each container, by the kernel's count; by the engine's events where that is not to be had.

    A container that has ended has no group any more: then it is the higher of what was read last and told.
    """

    def __init__(self, groups: ControlGroups, events: EngineEvents) -> None:
        self._groups = groups
        self._events = events
        self._counted: dict[str, int] = {}

    def of(self, container: str) -> int:
        counted = self._groups.oom_kills(container)
        if counted is None:
            return max(self._counted.get(container, 0), self._events.oom_kills(container))
        self._counted[container] = counted
        return counted

    def is_counted(self, container: str) -> bool:
        """Whether it is the kernel's count."""
        return self._groups.oom_kills(container) is not None

    def forget(self, container: str) -> None:
        self._counted.pop(container, None)
