"""Which engine is used: the one that is named, else that of the environment, else the machine's."""

import threading
from collections.abc import Iterator
from pathlib import Path
from socketserver import StreamRequestHandler, ThreadingUnixStreamServer

import pytest

from sandbox_service.backends.docker.engine import open_client

ANSWER = b'{"ApiVersion": "1.52", "MinAPIVersion": "1.44"}'


class AnswersItsVersion(StreamRequestHandler):
    def handle(self) -> None:
        while self.rfile.readline() not in (b"\r\n", b""):
            pass
        length = f"Content-Length: {len(ANSWER)}"
        self.wfile.write(f"HTTP/1.1 200 OK\r\n{length}\r\n\r\n".encode() + ANSWER)


@pytest.fixture
def engine_url(short_dir: Path) -> Iterator[str]:
    """Where an engine says its version, and no more."""
    path = str(short_dir / "e.sock")
    with ThreadingUnixStreamServer(path, AnswersItsVersion) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"unix://{path}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(("named", "environment"), [(True, "unix:///nowhere.sock"), (False, "")])
def test_the_named_engine_comes_before_that_of_the_environment(
    named: bool, environment: str, engine_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DOCKER_HOST is what the image's build uses; the service uses the same."""
    monkeypatch.setenv("DOCKER_HOST", environment or engine_url)
    client = open_client(engine_url if named else None, timeout_s=5)
    assert client.api_version == "1.52"
    client.close()
