"""`python -m images.build` makes the sandbox image if it is not there yet."""

import argparse
import json
import os
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import docker
import docker.errors
import docker.utils
import requests

from images import base, context
from images.context import REPOSITORY
from images.progress import Progress, StepFailed

CONTENT_LABEL = "sandbox.image.content"
CONTENTS_LABEL = "sandbox.image.packages"
BUILD_SILENCE_S = 1800
PASSED_ON = (
    "PIP_INDEX_URL",
    "PIP_EXTRA_INDEX_URL",
    "PIP_TRUSTED_HOST",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
)


class BuildFailed(Exception):
    """The image cannot be made; the message is one sentence for the person at the terminal."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m images.build", description=__doc__)
    parser.add_argument("--force", action="store_true", help="build even if the image is there")
    options = parser.parse_args()
    try:
        build(force=options.force)
    except (BuildFailed, base.NoBase, StepFailed) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def build(*, force: bool = False) -> str:
    """The image's full tag; does nothing but look when it exists already."""
    engine = connect()
    files = context.source_files()
    tag = f"{REPOSITORY}:{context.content_hash(files)}"
    if force or not _has_image(engine, tag):
        _build_image(engine, files, tag)
    else:
        print(f"Sandbox image {tag} is there.")
    engine.tag(tag, REPOSITORY, "latest")
    return tag


def connect() -> docker.APIClient:
    """The engine of this machine, or of DOCKER_HOST. Raises BuildFailed when none answers."""
    try:
        return docker.APIClient(
            **docker.utils.kwargs_from_env(), version="auto", timeout=BUILD_SILENCE_S
        )
    except docker.errors.DockerException:
        raise BuildFailed(
            "No Docker engine answers here; `make engine` as root installs and starts one."
        ) from None


def _has_image(engine: docker.APIClient, tag: str) -> bool:
    return bool(engine.images(name=tag, quiet=True))


def _build_image(engine: docker.APIClient, files: Mapping[str, bytes], tag: str) -> None:
    with Progress(f"Building the sandbox image {tag}", "image") as progress:
        base_image = base.ensure_base(engine, progress)
        events = engine.build(
            fileobj=context.build_context({**files, "ca.pem": context.ca_bundle()}),
            custom_context=True,
            tag=tag,
            rm=True,
            forcerm=True,
            decode=True,
            buildargs={"BASE": base_image, **_passed_on()},
            labels=_labels(files, tag),
        )
        _follow(events, progress)


def _passed_on(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    return {name: environ[name] for name in PASSED_ON if environ.get(name)}


def _labels(files: Mapping[str, bytes], tag: str) -> dict[str, str]:
    return {
        CONTENT_LABEL: tag.partition(":")[2],
        CONTENTS_LABEL: json.dumps(json.loads(files["contents.json"])["packages"]),
    }


def _follow(events: Iterator[dict[str, Any]], progress: Progress) -> None:
    """Show what the engine reports. Raises BuildFailed with the end of the log."""
    try:
        for event in events:
            if "error" in event:
                raise BuildFailed(f"The image did not build.\n{progress.tail()}\n{event['error']}")
            progress.line(event.get("stream", ""))
    except (docker.errors.APIError, requests.RequestException) as error:
        raise BuildFailed(f"The engine stopped answering during the build: {error}") from None


if __name__ == "__main__":
    sys.exit(main())
