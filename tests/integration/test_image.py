"""The sandbox image: what runs inside it, what is written about it, and when it is built again."""

import json
from pathlib import Path

import docker
import pytest

from images import contents, context
from images.build import CONTENT_LABEL, REPOSITORY

VERIFY = context.SOURCE / "verify"
SCRIPTS = sorted(path.stem for path in VERIFY.glob("[a-z]*.py"))
MOST_BYTES = 1_400_000_000
LOCKED_DOWN = {
    "user": "123456:123456",
    "network_mode": "none",
    "read_only": True,
    "cap_drop": ["ALL"],
    "security_opt": ["no-new-privileges"],
    "tmpfs": {"/tmp": "size=64m", "/home/sandbox": "size=64m", "/mnt/data": "size=64m"},
    "mem_limit": "2g",
    "pids_limit": 128,
}


def run_inside(engine: docker.DockerClient, code: str) -> str:
    """What Python prints in a locked-down container of the image; fails with its traceback."""
    container = engine.containers.create(
        f"{REPOSITORY}:latest", entrypoint=["python", "-c", code], **LOCKED_DOWN
    )
    try:
        container.start()
        code_of_exit = container.wait(timeout=110)["StatusCode"]
        log = container.logs().decode()
        assert code_of_exit == 0, log
        return log
    finally:
        container.remove(force=True)


@pytest.mark.docker
@pytest.mark.parametrize("script", SCRIPTS)
def test_the_image_passes_its_own_verification(engine: docker.DockerClient, script: str) -> None:
    """Each script runs inside, read-only, without network, as a user without an account."""
    printed = run_inside(engine, (VERIFY / f"{script}.py").read_text())
    assert printed.strip() == f"{script}: ok"


@pytest.mark.docker
def test_pyplot_imports_silently_and_builds_no_font_cache(engine: docker.DockerClient) -> None:
    """A fresh home is all that matplotlib needs."""
    printed = run_inside(
        engine,
        "import matplotlib.pyplot, pathlib\n"
        "print([p.name for p in pathlib.Path.home().rglob('*') if p.is_file()])",
    )
    assert printed.strip() == "[]"


@pytest.mark.docker
def test_the_image_is_built_from_the_files_as_they_are(engine: docker.DockerClient) -> None:
    """`make image` was run after the last change."""
    labels = engine.images.get(f"{REPOSITORY}:latest").labels
    assert labels[CONTENT_LABEL] == context.content_hash(context.source_files())


@pytest.mark.docker
def test_the_image_stays_under_its_size(engine: docker.DockerClient) -> None:
    """What is added must be worth its place."""
    assert engine.images.get(f"{REPOSITORY}:latest").attrs["Size"] < MOST_BYTES


@pytest.mark.docker
def test_the_contents_inside_equal_the_lock(engine: docker.DockerClient) -> None:
    """What a machine reads in the image is what the lock says."""
    printed = run_inside(engine, "print(open('/opt/sandbox/contents.json').read())")
    assert json.loads(printed) == contents.contents()


def test_the_list_shown_to_a_model_is_current() -> None:
    """CONTENTS.md was made from the lock as it is."""
    assert (context.SOURCE / "CONTENTS.md").read_text() == contents.contents_markdown()


def test_every_wanted_package_is_listed_and_locked() -> None:
    """No package falls out of the list because its block has no heading."""
    requirements = (context.SOURCE / "requirements-kernel.in").read_text()
    listed = {name for names in contents.sections(requirements).values() for name in names}
    groups = contents.package_groups(context.SOURCE)
    assert {name for names in groups.values() for name in names} > listed
    assert set(contents.FROM_DEBIAN) <= set(groups)
    assert listed == set(contents.WANTED.findall(requirements))


def test_a_change_of_any_file_changes_the_hash() -> None:
    """The image is built again whenever something that goes into it changed."""
    files = context.source_files()
    hashes = {context.content_hash({**files, name: b"changed"}) for name in files}
    assert len(hashes) == len(files)
    assert context.content_hash(files) not in hashes


def test_the_build_context_depends_on_nothing_but_the_files() -> None:
    """The engine's cache holds from one checkout to the next."""
    files = {"Dockerfile": b"FROM scratch\n", "agent/__main__.py": b""}
    first, second = context.build_context(files), context.build_context(files)
    assert first.read() == second.read()


def test_the_build_trusts_the_bundle_that_the_host_names(tmp_path: Path) -> None:
    """A company's certificate authority reaches pip in the build."""
    bundle = tmp_path / "company.pem"
    bundle.write_bytes(b"company")
    assert context.ca_bundle({"PIP_CERT": str(bundle)}) == b"company"
    assert b"BEGIN CERTIFICATE" in context.ca_bundle({})
