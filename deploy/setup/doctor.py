"""What of the set-up is missing or stale, in less than a second; changes nothing. Standard library only."""

import json
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from deploy.setup import ensure_redis, ensure_runsc, ensure_venv
from deploy.setup.engine_line import ask, can_ask, engine_host
from images import context
from images.context import REPOSITORY

ASKED_S = 0.3


@dataclass(frozen=True, slots=True)
class Part:
    """One part of the set-up. `mend` is the make target that brings it, empty when nothing need be done."""

    name: str
    says: str
    mend: str = ""
    is_needed: bool = True


def main() -> int:
    found = list(parts())
    for part in found:
        mend = f"  -> make {part.mend}" if part.mend else ""
        print(f"{_mark(part):7} {part.name}: {part.says}{mend}")
    return int(any(part.mend and part.is_needed for part in found))


def _mark(part: Part) -> str:
    if not part.mend:
        return "ok"
    return "to do" if part.is_needed else "(none)"


def parts() -> Iterator[Part]:
    """Each part, in the order in which they are made."""
    yield environment()
    host = engine_host()
    if can_ask(host):
        yield from of_engine(host)
    else:
        yield Part("engine", f"DOCKER_HOST is {host}; it is not asked here")
    yield redis()


def environment() -> Part:
    if not (ensure_venv.VENV / "bin" / "python").exists():
        return Part("environment", "there is no .venv", "venv")
    if not ensure_venv.is_as_locked():
        return Part("environment", ".venv was made from another lock", "venv")
    return Part("environment", ".venv is as locked")


def of_engine(host: str) -> Iterator[Part]:
    """The engine, and what it has of ours."""
    if ask(host, "/_ping", ASKED_S) is None:
        yield Part("engine", f"none answers at {host}", "engine")
        return
    info = json.loads(ask(host, "/info", ASKED_S) or b"{}")
    yield Part("engine", f"{info.get('ServerVersion', 'answers, but is busy')} at {host}")
    yield image(host)
    yield runsc(info)


def image(host: str) -> Part:
    tag = f"{REPOSITORY}:{context.content_hash(context.source_files())}"
    filters = json.dumps({"reference": [f"{REPOSITORY}:*"]})
    listed = json.loads(
        ask(host, f"/images/json?{urlencode({'filters': filters})}", ASKED_S) or "[]"
    )
    tags = {one for image in listed for one in image.get("RepoTags") or ()}
    if tag in tags:
        return Part("image", f"{tag} is there")
    says = f"{tag} is not built" + (", an older one is" if tags else "")
    return Part("image", says, "image")


def runsc(info: dict[str, Any]) -> Part:
    if ensure_runsc.is_registered(info):
        return Part("gVisor", "the engine has runsc")
    return Part("gVisor", "the engine has no runsc; templates may ask for it", "runsc", False)


def redis() -> Part:
    if not shutil.which("redis-server"):
        return Part("redis", "no redis-server; tests of several processes need it", "redis", False)
    version = ensure_redis.version_of("redis-server")
    if version < ensure_redis.OLDEST:
        return Part("redis", f"redis-server {version} is too old", "redis", False)
    return Part("redis", f"redis-server {version}")


if __name__ == "__main__":
    sys.exit(main())
