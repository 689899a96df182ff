"""A large file up and down again, and what that does to the service's memory."""

import asyncio
import hashlib
import http.client
import os
import re
from pathlib import Path

from tests.benchmarks.bench import Bench, Stopwatch
from tests.benchmarks.client import HOST
from tests.benchmarks.samples import require
from tests.benchmarks.service import session

SIZE_BYTES = 100 * 1000 * 1000
MB = 1000 * 1000
RESET_PEAK = "5"


async def large_file(bench: Bench) -> None:
    """Sent and received by `http.client` in a thread, from and into one buffer."""
    content = os.urandom(SIZE_BYTES)
    async with bench.target.api() as api, session(api) as session_id:
        path = f"/v1/sessions/{session_id}/files/large.bin"
        memory = ServiceMemory(bench.target.process.pid)
        before_mib = memory.now_mib()
        memory.reset_peak()
        for _ in range(bench.counts.transfers):
            with bench.results.failures_of("upload", "download"):
                await asyncio.to_thread(_round_trip, bench, path, content)
        growth_mib = memory.peak_mib() - before_mib
        bench.results["transfer_memory"].samples.append(growth_mib)
        bench.results["transfer_memory"].notes.append(
            f"resident before: {before_mib:.0f} MiB, peak: {memory.peak_mib():.0f} MiB"
        )


def _round_trip(bench: Bench, path: str, content: bytes) -> None:
    process = bench.target.process
    headers = {"Authorization": f"Bearer {process.key}"}
    connection = http.client.HTTPConnection(HOST, process.port, timeout=60)
    connection.blocksize = 1024 * 1024
    try:
        up = _upload(connection, path, content, headers)
        down = _download(connection, path, content, headers)
    finally:
        connection.close()
    bench.results["upload"].samples.append(up)
    bench.results["download"].samples.append(down)


def _upload(
    connection: http.client.HTTPConnection, path: str, content: bytes, headers: dict[str, str]
) -> float:
    watch = Stopwatch()
    connection.request("PUT", path, content, headers)
    response = connection.getresponse()
    body = response.read()
    elapsed_ms = watch.ms()
    require(response.status in (200, 201), f"status {response.status}: {body[:200]!r}")
    return SIZE_BYTES / MB / (elapsed_ms / 1000)


def _download(
    connection: http.client.HTTPConnection, path: str, content: bytes, headers: dict[str, str]
) -> float:
    received = bytearray(SIZE_BYTES)
    rest = memoryview(received)
    watch = Stopwatch()
    connection.request("GET", path, headers=headers)
    response = connection.getresponse()
    while rest and (count := response.readinto(rest)):
        rest = rest[count:]
    response.read()
    elapsed_ms = watch.ms()
    require(hashlib.sha256(received).digest() == hashlib.sha256(content).digest(), "other bytes")
    return SIZE_BYTES / MB / (elapsed_ms / 1000)


class ServiceMemory:
    """The resident memory of a process, and its peak since it was reset."""

    def __init__(self, pid: int) -> None:
        self._proc = Path(f"/proc/{pid}")

    def reset_peak(self) -> None:
        (self._proc / "clear_refs").write_text(RESET_PEAK)

    def now_mib(self) -> float:
        return self._field("VmRSS")

    def peak_mib(self) -> float:
        return self._field("VmHWM")

    def _field(self, name: str) -> float:
        found = re.search(rf"{name}:\s+(\d+) kB", (self._proc / "status").read_text())
        assert found is not None
        return int(found[1]) / 1024
