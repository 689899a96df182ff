"""What this machine's pip is told of indexes and certificates, in the words of uv, which reads none of it."""

import ast
import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

LINE = re.compile(r"(?P<section>[^=]*)\.(?P<name>[a-z-]+)=(?P<value>['\"].*)")
SECTIONS = ("global", "install", ":env:")  # the later ones win
LISTS = re.compile(r"[\s,]+")


def uv_environment(python: Path, environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The environment to run uv in: `environ`, and what pip's files and variables add to it."""
    told = read(configuration(python, environ))
    # Like pip: one index is as good as another, the hashes decide.
    return {"UV_INDEX_STRATEGY": "unsafe-best-match", **dict(translated(told)), **environ}


def configuration(python: Path, environ: Mapping[str, str]) -> str:
    """What `pip config list` prints; empty when it fails."""
    said = subprocess.run(
        [python, "-m", "pip", "config", "list"],
        env=dict(environ),
        capture_output=True,
        text=True,
        check=False,
    )
    return said.stdout


def read(printed: str) -> dict[str, str]:
    """Setting to value, as `pip install` would take it."""
    lines = [found for line in printed.splitlines() if (found := LINE.match(line))]
    return {
        line["name"]: str(ast.literal_eval(line["value"]))
        for section in SECTIONS
        for line in lines
        if line["section"] == section
    }


def translated(pip: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """The same for uv, by its variables."""
    if index := pip.get("index-url"):
        yield "UV_DEFAULT_INDEX", index
    if indexes := pip.get("extra-index-url"):
        yield "UV_INDEX", " ".join(LISTS.split(indexes.strip()))
    if hosts := pip.get("trusted-host"):
        yield "UV_INSECURE_HOST", " ".join(LISTS.split(hosts.strip()))
    if places := list(filter(_is_there, LISTS.split(pip.get("find-links", "")))):
        yield "UV_FIND_LINKS", ",".join(places)
    if bundle := pip.get("cert"):
        yield "SSL_CERT_FILE", bundle
    if proxy := pip.get("proxy"):
        yield "ALL_PROXY", proxy


def _is_there(place: str) -> bool:
    """pip passes over folders that are not there, uv does not."""
    return "://" in place or (bool(place) and Path(place).exists())
