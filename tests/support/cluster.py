"""Several service processes that share one store, one engine and one name; each can be killed, frozen and restarted."""

import asyncio
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from tests.support.ports import free_port

START_DEADLINE_S = 60.0
STOP_DEADLINE_S = 60.0
POLL_S = 0.05
SERVE = [sys.executable, "-m", "sandbox_service", "serve"]
TENANTS = ("first", "second")


class Replica:
    """One `python -m sandbox_service serve`, always on the same port."""

    def __init__(
        self,
        name: str,
        environment: Mapping[str, str],
        log_path: Path,
        arguments: Sequence[str] = (),
    ) -> None:
        self.name = name
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log_path = log_path
        self.environment = dict(environment)
        self.is_frozen = False
        self._arguments = list(arguments)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def is_up(self) -> bool:
        """Whether the process lives and is not frozen."""
        return self._process is not None and self._process.poll() is None and not self.is_frozen

    async def start(self) -> "Replica":
        """Start the process and return when it is ready."""
        self.spawn()
        await self.until_ready()
        return self

    def spawn(self) -> None:
        """Start the process and return at once."""
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                [*SERVE, "--port", str(self.port), *self._arguments],
                env=self.environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.is_frozen = False

    async def until_ready(self, deadline_s: float = START_DEADLINE_S) -> None:
        last = time.monotonic() + deadline_s
        async with httpx.AsyncClient(timeout=10) as client:
            while time.monotonic() < last:
                if self._process is None or self._process.poll() is not None:
                    raise AssertionError(f"{self.name} has ended:\n{self.log_end()}")
                try:
                    if (await client.get(f"{self.url}/readyz")).status_code == 200:
                        return
                except httpx.TransportError:
                    pass
                await asyncio.sleep(POLL_S)
        raise AssertionError(f"{self.name} is not ready in {deadline_s:g} s:\n{self.log_end()}")

    def kill(self) -> None:
        """SIGKILL, to every process of the service, also to frozen ones."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self.is_frozen = False

    def freeze(self) -> None:
        """SIGSTOP: it keeps its sockets and does nothing."""
        os.killpg(self.pid, signal.SIGSTOP)
        self.is_frozen = True

    def thaw(self) -> None:
        os.killpg(self.pid, signal.SIGCONT)
        self.is_frozen = False

    def signal(self, number: int) -> None:
        """Send a signal to the process that was started, not to its children."""
        os.kill(self.pid, number)

    async def terminate(self) -> int:
        """SIGTERM, as an operator would; returns the exit code once it has ended."""
        self.signal(signal.SIGTERM)
        assert self._process is not None
        return await asyncio.to_thread(self._process.wait, STOP_DEADLINE_S)

    def log_end(self, lines: int = 40) -> str:
        return "\n".join(self.log_path.read_text(errors="replace").splitlines()[-lines:])


@dataclass(frozen=True, slots=True)
class ClusterSpec:
    """What a cluster is made of; `environment` goes over the defaults."""

    replicas: int = 1
    backend: str = "docker"
    redis_url: str | None = None
    docker_url: str | None = None
    arguments: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict)


class Cluster:
    """The replicas, started together; at the end they are killed and whatever they left is removed."""

    def __init__(self, directory: Path, spec: ClusterSpec) -> None:
        self.spec = spec
        self.directory = directory
        self.data_dir = directory / "data"
        self.instance = f"faults-{secrets.token_hex(4)}"
        # Unix socket paths are short: the control directories do not fit below pytest's own.
        self.runtime_dir = Path(tempfile.mkdtemp(prefix="sbx-"))
        self.keys = {tenant: secrets.token_urlsafe(16) for tenant in TENANTS}
        self.replicas = [self._make(index) for index in range(spec.replicas)]

    def _make(self, index: int) -> Replica:
        name = f"replica-{index}"
        log_path = self.directory / f"{name}.log"
        return Replica(name, self._environment(), log_path, self.spec.arguments)

    def _environment(self) -> dict[str, str]:
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("SANDBOX_")}
        pairs = ",".join(f"{tenant}:{key}" for tenant, key in self.keys.items())
        own = {
            "SANDBOX_API_KEYS": pairs,
            "SANDBOX_BACKEND": self.spec.backend,
            "SANDBOX_INSTANCE": self.instance,
            "SANDBOX_DATA_DIR": str(self.data_dir),
            "SANDBOX_RUNTIME_DIR": str(self.runtime_dir),
            "SANDBOX_IDLE_TTL_MIN_S": "1",
            "SANDBOX_SWEEP_INTERVAL_S": "0.2",
            "SANDBOX_REAP_INTERVAL_S": "2",
            "SANDBOX_POOL_SIZE": "0",
        }
        if self.spec.redis_url:
            own["SANDBOX_REDIS_URL"] = self.spec.redis_url
        if self.spec.docker_url:
            own["SANDBOX_DOCKER_URL"] = self.spec.docker_url
        return {**inherited, **own, **self.spec.environment}

    @property
    def up(self) -> list[Replica]:
        """The replicas that live and are not frozen."""
        return [replica for replica in self.replicas if replica.is_up]

    async def __aenter__(self) -> "Cluster":
        try:
            await asyncio.gather(*(replica.start() for replica in self.replicas))
        except BaseException:
            self.kill()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        self.kill()
        await asyncio.to_thread(shutil.rmtree, self.runtime_dir, True)

    def kill(self) -> None:
        for replica in self.replicas:
            replica.kill()
