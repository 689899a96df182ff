"""A service as its own process, as an operator would start it."""

import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

import httpx

from sandbox_service.domain.tenancy import Scope
from sandbox_service.tenants.key_file import FILE_NAME, KeyFile
from sandbox_service.tenants.records import make_key
from tests.support.ports import free_port

START_DEADLINE_S = 60
STOP_DEADLINE_S = 60


def add_full_key(data_dir: Path, tenant: str) -> str:
    """A fresh key with every scope in the key file, as `sandbox-service keys create` makes it."""
    fresh = make_key(tenant, datetime.now(UTC), scopes=list(Scope))
    KeyFile(data_dir / FILE_NAME).add(fresh)
    return fresh.key


class ServiceProcess:
    """`python -m sandbox_service serve` on a free loopback port, with directories of its own."""

    def __init__(self, directory: Path, backend: str = "docker", **environment: str) -> None:
        self.key = secrets.token_urlsafe(16)
        self.other_key = secrets.token_urlsafe(16)
        self.instance = f"test-{secrets.token_hex(4)}"
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.directory = directory
        # Unix socket paths are short: the control directories do not fit below pytest's own.
        self.runtime_dir = Path(tempfile.mkdtemp(prefix="sbx-"))
        self.log_path = directory / "service.log"
        self._environment = self._make_environment(backend, environment)
        self._process: subprocess.Popen[bytes] | None = None

    def _make_environment(self, backend: str, extra: dict[str, str]) -> dict[str, str]:
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("SANDBOX_")}
        return {
            **inherited,
            "SANDBOX_API_KEYS": f"first:{self.key},second:{self.other_key}",
            "SANDBOX_BACKEND": backend,
            "SANDBOX_INSTANCE": self.instance,
            "SANDBOX_DATA_DIR": str(self.directory / "data"),
            "SANDBOX_RUNTIME_DIR": str(self.runtime_dir),
            "SANDBOX_IDLE_TTL_MIN_S": "1",
            "SANDBOX_SWEEP_INTERVAL_S": "0.2",
            "SANDBOX_POOL_SIZE": "0",
            "SANDBOX_OPEN_WAIT_S": "30",
            "SANDBOX_ON_STOP": "remove",
            "SANDBOX_REAP_INTERVAL_S": "2",
            "SANDBOX_START_TIMEOUT_S": "90",  # however busy the machine is with other tests
            **extra,
        }

    def __enter__(self) -> "ServiceProcess":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        left = sorted(path.name for path in self.runtime_dir.iterdir())
        shutil.rmtree(self.runtime_dir)
        assert left == [], f"left in the runtime directory: {left}"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start the process and wait until it is ready."""
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "sandbox_service", "serve", "--port", str(self.port)],
                env=self._environment,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self._wait_until_ready()

    def stop(self) -> None:
        """End it as an operator would, with SIGTERM."""
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait(STOP_DEADLINE_S)

    def kill(self) -> None:
        """End it as nobody would: at once, in the middle of whatever it does."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(STOP_DEADLINE_S)

    def open_sockets(self) -> int:
        """How many sockets the process has open."""
        links = Path(f"/proc/{self.pid}/fd").iterdir()
        return sum(_target(link).startswith("socket:") for link in links)

    def command(self, *arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
        """Run one command of the operator's, with the service's settings."""
        return subprocess.run(
            [sys.executable, "-m", "sandbox_service", *arguments],
            env={**self._environment, **environment},
            capture_output=True,
            text=True,
            timeout=START_DEADLINE_S,
            check=False,
        )

    @cached_property
    def full_key(self) -> str:
        """A key of the first tenant's with every scope, that of operators among them."""
        return add_full_key(self.directory / "data", "first")

    def client(self, key: str | None = None) -> httpx.AsyncClient:
        """An HTTP client for it; `key` None means the first tenant's."""
        headers = {"Authorization": f"Bearer {key or self.key}"}
        return httpx.AsyncClient(base_url=self.url, headers=headers, timeout=60)

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_DEADLINE_S
        while time.monotonic() < deadline:
            if self._process is not None and self._process.poll() is not None:
                break
            try:
                if httpx.get(f"{self.url}/readyz").status_code == 200:
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.05)
        raise AssertionError(f"the service is not ready:\n{self.log_path.read_text()}")


def _target(link: Path) -> str:
    try:
        return os.readlink(link)
    except FileNotFoundError:  # closed in between
        return ""
