"""What the figures were measured on."""

import os
import platform
import re
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import docker

REPOSITORY = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Machine:
    """Facts for the reader, as (what, value)."""

    facts: dict[str, str]
    runtimes: frozenset[str]


def describe(image: str) -> Machine:
    """Ask the machine and the engine. Raises DockerException when no engine answers."""
    client = docker.APIClient(version="auto")
    try:
        engine: dict[str, Any] = client.info()
        found = client.inspect_image(image)
    finally:
        client.close()
    facts = {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": _commit(),
        "processor": f"{os.cpu_count()} × {_processor()}",
        "memory": f"{engine['MemTotal'] / 2**30:.0f} GiB",
        "system": f"{engine['OperatingSystem']}, kernel {platform.release()}",
        "engine": f"Docker {engine['ServerVersion']}, runtime {engine['DefaultRuntime']} "
        f"({engine['RuncCommit']['ID'][:20]}), cgroup v{engine['CgroupVersion']}",
        "image": f"{found['Id'][7:19]}, {found['Size'] / 1e6:.0f} MB",
        "Python": f"{platform.python_version()} (service and client)",
        "load at start": "{:.2f} {:.2f} {:.2f}".format(*os.getloadavg()),
    }
    return Machine(facts, frozenset(engine["Runtimes"]))


def _processor() -> str:
    found = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    return found[1] if found else platform.machine()


def _commit() -> str:
    command = ["git", "-C", str(REPOSITORY), "describe", "--always", "--dirty"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
