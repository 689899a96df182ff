"""Questions to a Docker engine, before there is a package for that: standard library only."""

import http.client
import os
import socket

DEFAULT = "unix:///var/run/docker.sock"
ASKED_S = 5.0


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("engine", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def engine_host() -> str:
    """Where the engine is: DOCKER_HOST, or this machine's socket."""
    return os.environ.get("DOCKER_HOST") or DEFAULT


def can_ask(host: str) -> bool:
    """Whether it is on a plain socket; of others nothing can be learned here."""
    return host.startswith("unix://")


def ask(host: str, path: str, seconds: float = ASKED_S) -> bytes | None:
    """The body of the answer to a GET; None when there is none, or a refusal."""
    connection = UnixConnection(host.removeprefix("unix://"), seconds)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        body = answer.read()
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
    return body if answer.status == http.client.OK else None
