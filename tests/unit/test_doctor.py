"""The doctor's judgement: what is well, weak or fatal, from the facts alone."""

from dataclasses import replace

import pytest

from sandbox_service.backends.docker.inspection import EngineFacts
from sandbox_service.doctor.advice import findings
from sandbox_service.doctor.facts import MachineFacts
from sandbox_service.doctor.versions import (
    is_of_a_distribution,
    numbers,
    runc_holes,
    runsc_date,
)
from sandbox_service.domain.values import MIB

ENGINE = EngineFacts(
    engine_version="28.2.2",
    runc_version="1.3.3",
    containerd_version="1.7.27",
    runtimes=frozenset({"runc", "runsc"}),
    cgroup_version="2",
    storage_driver="overlay2",
    security_options=("name=seccomp,profile=builtin", "name=apparmor"),
    data_root="/var/lib/docker",
    kernel_version="6.12.1",
    image_id="sha256:1",
    image_labels={"sandbox.image.content": "abc"},
)
SOUND = MachineFacts(
    engine=ENGINE,
    runsc_version="0.0~20240729.0",
    wanted_runtimes=frozenset({"runc", "runsc"}),
    free_bytes={"/": 100_000 * MIB},
    image="sandbox-python:latest",
    expected_image_content="abc",
)


def levels(facts: MachineFacts) -> dict[str, str]:
    return {finding.name: finding.level for finding in findings(facts) if finding.level != "ok"}


def with_engine(**changes: object) -> MachineFacts:
    return replace(SOUND, engine=replace(ENGINE, **changes))  # type: ignore[arg-type]


def test_a_sound_machine_has_nothing_to_mend() -> None:
    """Every finding is well, and needs no advice."""
    assert levels(SOUND) == {}
    assert all(not finding.mend for finding in findings(SOUND))


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        (replace(SOUND, engine=None, engine_error="away"), {"engine": "fail"}),
        (replace(SOUND, is_isolating=False), {"backend": "weak"}),
        (replace(SOUND, busy_port="127.0.0.1:8000"), {"port": "fail"}),
        (replace(SOUND, runtime_dir_fault="too long"), {"runtime directory": "fail"}),
        (replace(SOUND, missing_ca="/none.pem"), {"certificates": "weak"}),
        (replace(SOUND, open_mitigations=("meltdown",)), {"processor": "weak"}),
        (replace(SOUND, free_bytes={"/": 1000 * MIB}), {"disk": "weak"}),
        (replace(SOUND, free_bytes={"/": 10 * MIB}), {"disk": "fail"}),
        (replace(SOUND, runsc_version="0.0~20221219.0"), {"runsc": "weak"}),
        (replace(SOUND, runsc_version=""), {"runsc": "weak"}),
        (replace(SOUND, expected_image_content="other"), {"image": "weak"}),
        (with_engine(image_id=None), {"image": "fail"}),
        (with_engine(engine_version="19.3.1"), {"engine": "fail"}),
        (with_engine(runc_version="1.1.5"), {"runc": "weak"}),
        (with_engine(runc_version=""), {"runc": "weak"}),
        (with_engine(runtimes=frozenset({"runc"})), {"runtime": "fail"}),
        (with_engine(cgroup_version="1"), {"cgroups": "weak"}),
        (with_engine(storage_driver="vfs"), {"storage": "weak"}),
        (
            with_engine(security_options=()),
            {"seccomp": "fail", "apparmor": "weak"},
        ),
        (
            with_engine(security_options=("name=seccomp", "name=apparmor", "name=rootless")),
            {"user namespaces": "fail"},
        ),
    ],
)
def test_each_fault_is_found_and_only_it(facts: MachineFacts, expected: dict[str, str]) -> None:
    """One fault at a time, in a machine that is sound but for it."""
    assert levels(facts) == expected


@pytest.mark.parametrize(
    ("version", "holes"),
    [
        ("1.1.11", 2),
        ("1.1.12", 1),
        ("1.1.5+ds1", 2),
        ("1.2.7", 1),
        ("1.2.8", 0),
        ("1.3.2", 1),
        ("1.3.3", 0),
        ("1.4.0", 0),
        ("unknown", 0),
    ],
)
def test_runc_versions_with_known_holes(version: str, holes: int) -> None:
    """Each line of releases has a first good one; later lines are good."""
    assert len(runc_holes(version)) == holes


def test_versions_are_read_from_what_tools_print() -> None:
    """Numbers, a distribution's marks, gVisor's dates."""
    assert numbers("runc version 1.2.8") == (1, 2, 8)
    assert numbers("20.10") == (20, 10, 0)
    assert numbers("dev") is None
    assert is_of_a_distribution("1.1.5+ds1")
    assert not is_of_a_distribution("1.3.3")
    assert runsc_date("release-20251215.0") == 20251215
    assert runsc_date("0.0~20240729.0") == 20240729
    assert runsc_date("VERSION_MISSING") is None
